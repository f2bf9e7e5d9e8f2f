"""Guests as the other tests rely on them: apart from the host, alive through reboots, gone without a trace."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import simulated_guest
from guests.simulated import booted_again, eventually, running_or_skip
from simulated_guest import Guest, GuestError, Service
from support import scripts
from support.scripts import HACK


@pytest.fixture(name="form", params=["full", "small"])
def _form(request: pytest.FixtureRequest) -> str:
    form: str = request.param
    return form


@pytest.fixture(name="guest")
def _guest(tmp_path: Path, form: str) -> Iterator[Guest]:
    with running_or_skip("web-1", tmp_path, small=form == "small") as guest:
        yield guest


@pytest.fixture(name="full_guest")
def _full_guest(tmp_path: Path) -> Iterator[Guest]:
    with running_or_skip("web-1", tmp_path, small=False) as guest:
        yield guest


# The form


def test_the_program_inside_is_root_on_a_machine_of_its_own_name(guest: Guest, form: str) -> None:
    assert guest.full is (form == "full")
    assert guest.run(["id", "-u"]).stdout == b"0\n"
    assert guest.run(["hostname"]).stdout == b"web-1\n"
    assert guest.read("/etc/hostname") == b"web-1\n"
    assert guest.read("/proc/1/comm") == b"init\n"


def test_what_is_written_inside_is_not_on_the_host(guest: Guest) -> None:
    for path in ("/etc/simulated-guest", "/var/lib/waagent/x/status", "/root/simulated-guest", "/tmp/simulated-guest"):
        guest.write(path, b"inside")
        assert guest.read(path) == b"inside"
        assert not Path(path).exists()
    assert guest.path("/etc/simulated-guest").read_bytes() == b"inside"


def test_written_names_the_files_of_the_guest_and_no_others(guest: Guest) -> None:
    assert guest.written() == []
    guest.write("/var/log/canary", b"")
    guest.write("/etc/hosts", b"127.0.0.1 localhost\n")
    guest.write("/etc/deleted", b"")
    guest.run(["rm", "/etc/deleted", "/etc/hostname"])
    assert guest.written() == ["/etc/hosts", "/var/log/canary"]


HOST_WITH_AN_AGENT = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
for folder in /etc/vmext /var/lib/vmext /var/lib/waagent /var/log/azure; do
    mkdir -p $folder
    echo here > $folder/agent
done
echo here > /var/lib/other
exec "$@"
"""
LOOK_FOR_THE_AGENT = """
import os, simulated_guest
folders = ["/etc/vmext", "/var/lib/vmext", "/var/lib/waagent", "/var/log/azure"]
with simulated_guest.running("web-1", small={small}) as guest:
    print([os.path.exists(folder + "/agent") for folder in folders], [guest.exists(folder) for folder in folders])
    for folder in folders:
        guest.write(folder + "/state", b"")
    print(guest.run(["ls", *folders]).stdout.decode().split(), guest.written())
    print(guest.exists("/var/lib/other"))
"""


def test_the_hosts_own_agent_is_not_seen(form: str, tmp_path: Path) -> None:
    """The host here has an agent, and several file systems, in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can show a process a host with an agent")
    with running_or_skip("probe", tmp_path, small=form == "small"):
        pass
    look = [simulated_guest.python(), "-B", "-c", LOOK_FOR_THE_AGENT.format(small=form == "small")]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", HOST_WITH_AN_AGENT, "sh", *look],
        env=scripts.ENVIRONMENT | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    folders = ["/etc/vmext", "/var/lib/vmext", "/var/lib/waagent", "/var/log/azure"]
    listed = [word for folder in folders for word in (f"{folder}:", "state")]
    assert done.stdout.splitlines() == [
        f"{[True] * 4} {[False] * 4}",
        f"{listed} {[f'{folder}/state' for folder in folders]}",
        str(form == "full"),
    ]


def test_a_new_guest_has_its_own_machine_id_and_boot_id(guest: Guest, tmp_path: Path, form: str) -> None:
    with running_or_skip("web-2", tmp_path, small=form == "small") as other:
        for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
            ids = {Path(path).read_bytes() if Path(path).exists() else b"", guest.read(path), other.read(path)}
            assert len(ids) == 3


def test_the_kernel_of_the_host_can_not_be_changed_from_inside(guest: Guest) -> None:
    for path in (
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/random/boot_id",
        "/sys/kernel/mm/transparent_hugepage/defrag",
    ):
        if Path(path).exists():
            # The value that it has: a guest that fails this test shall not change the host.
            done = guest.run(["sh", "-c", f"value=$(cat {path}); echo $value > {path}"], check=False)
            assert b"Read-only file system" in done.stderr or b"Permission denied" in done.stderr


def test_devices_are_there(guest: Guest) -> None:
    script = (
        "head -c 8 /dev/urandom >/dev/null && : >/dev/null && echo x >/dev/shm/x && ls /dev/fd/ >/dev/null && echo ok"
    )
    assert guest.run(["sh", "-c", script]).stdout == b"ok\n"
    assert guest.run(["sh", "-c", "echo >/dev/full"], check=False).returncode != 0
    opens_a_terminal = "import os; a, b = os.openpty(); print(os.ttyname(b))"
    assert guest.run([simulated_guest.python(), "-c", opens_a_terminal]).stdout == b"/dev/pts/0\n"


def test_the_checkout_and_a_python_are_there(guest: Guest) -> None:
    code = "import simulated_guest, ssl; print(simulated_guest.__name__)"
    done = guest.run(
        [simulated_guest.python(), "-c", code], env={"PYTHONPATH": str(HACK), "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert done.stdout == b"simulated_guest\n"


def test_the_checkout_is_not_written(guest: Guest) -> None:
    name = HACK / f"written-by-{os.getpid()}"
    done = guest.run(["touch", str(name)], check=False)
    # A checkout under /tmp is shown read-only in the full form too: the guest has a /tmp of its own.
    assert done.returncode == 0 if guest.full and not HACK.is_relative_to("/tmp") else b"Read-only" in done.stderr
    assert not name.exists()


def test_a_user_added_inside_is_unknown_to_the_host(full_guest: Guest) -> None:
    full_guest.run(["useradd", "--create-home", "vmext-test-user"])
    assert full_guest.run(["id", "-un", "vmext-test-user"]).stdout == b"vmext-test-user\n"
    with pytest.raises(KeyError):
        pwd.getpwnam("vmext-test-user")


def test_two_guests_at_once_do_not_see_each_other(guest: Guest, tmp_path: Path, form: str) -> None:
    with running_or_skip("web-2", tmp_path, small=form == "small") as other:
        guest.write("/etc/mine", b"")
        assert not other.exists("/etc/mine")
        guest.start_service(Service("sleeper", ["sleep", "1000"]))
        assert len(other.run(["ps", "-e", "-o", "args="]).stdout.splitlines()) == 2  # init and ps itself


# Programs and files


def test_run_gives_input_output_and_status_as_they_are(guest: Guest) -> None:
    done = guest.run(["sh", "-c", "cat; printf '\\377' >&2; exit 7"], input=b"\x00\xfe", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"\x00\xfe", b"\xff")
    with pytest.raises(subprocess.CalledProcessError):
        guest.run(["false"])


def test_run_gives_nothing_of_the_hosts_environment(guest: Guest) -> None:
    os.environ["OF_THE_HOST"] = "1"
    try:
        names = {line.split(b"=")[0] for line in guest.run(["env"], env={"MINE": "1"}).stdout.splitlines()}
    finally:
        del os.environ["OF_THE_HOST"]
    assert names == {b"HOME", b"LANG", b"MINE", b"PATH"}


def test_a_program_that_takes_too_long_is_killed(guest: Guest) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        guest.run(["sleep", "1234"], timeout=0.5)
    eventually(lambda: all("1234" not in process.argv for process in guest.processes()), "sleep is gone")


def test_reading_does_not_follow_a_link_out_to_the_host(guest: Guest, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    guest.run(["ln", "-s", str(secret), "/etc/link"])
    with pytest.raises(FileNotFoundError):
        guest.read("/etc/link")
    guest.write(str(secret), b"of the guest")
    assert guest.read("/etc/link") == b"of the guest"
    assert secret.read_text() == "of the host"


def test_a_file_is_written_with_its_mode(guest: Guest) -> None:
    guest.write("/etc/vmext/new folder/token", b"x")
    guest.write("/etc/vmext/readable", b"x", mode=0o644)
    modes = guest.run(["stat", "-c", "%a", "/etc/vmext/new folder/token", "/etc/vmext/readable"])
    assert modes.stdout == b"600\n644\n"
    with pytest.raises(GuestError, match=r"can't write /proc/nowhere"):
        guest.write("/proc/nowhere", b"")


def test_a_full_disk_says_so(tmp_path: Path, form: str) -> None:
    with running_or_skip("web-1", tmp_path, small=form == "small", disk_bytes=1 << 20) as guest:
        guest.run(["dd", "if=/dev/zero", "of=/var/fits", "bs=64k", "count=12"])
        done = guest.run(["dd", "if=/dev/zero", "of=/var/does-not", "bs=64k", "count=12"], check=False)
        assert os.strerror(errno.ENOSPC).encode() in done.stderr
        guest.reboot()
        assert guest.run(["stat", "-c", "%s", "/var/fits"]).stdout == b"786432\n"


# Services


def test_a_killed_service_does_not_end_the_guest(guest: Guest) -> None:
    pid = guest.start_service(Service("agent", ["sh", "-c", "echo hello; exec sleep 1000"]))
    assert guest.service_pid("agent") == pid
    eventually(lambda: guest.service_log("agent") == b"hello\n", "its words are in the log")
    guest.kill_service("agent", signal.SIGKILL)
    eventually(lambda: not guest.service_running("agent"), "it is dead")
    assert guest.exists("/etc")
    assert guest.start_service(Service("agent", ["sleep", "1000"])) != pid


def test_a_service_that_shall_be_is_restarted(guest: Guest) -> None:
    first = guest.start_service(Service("agent", ["sleep", "1000"], restart=True))
    guest.kill_service("agent", signal.SIGKILL)
    eventually(lambda: guest.service_pid("agent") not in (None, first), "another one runs")


def test_a_service_gets_its_environment_and_default_signals(guest: Guest) -> None:
    guest.start_service(Service("agent", ["sh", "-c", 'echo "$TOKEN"; kill -PIPE $$; echo alive'], env={"TOKEN": "t"}))
    eventually(lambda: not guest.service_running("agent"), "it ended")
    assert guest.service_log("agent") == b"t\n"


OPEN_FILES = "for number in $(seq 0 50); do [ -e /proc/$$/fd/$number ] && echo $number; done; echo done"


def test_a_service_inherits_no_files(guest: Guest) -> None:
    guest.start_service(Service("first", ["sleep", "1000"]))
    guest.start_service(Service("second", ["sh", "-c", OPEN_FILES]))
    eventually(lambda: guest.service_log("second").endswith(b"done\n"), "it listed its files")
    assert guest.service_log("second").split() == [b"0", b"1", b"2", b"done"]


def test_what_services_leave_behind_is_reaped(guest: Guest) -> None:
    guest.run(["sh", "-c", "setsid sh -c 'sleep 0.1' </dev/null >/dev/null 2>&1 &"])
    eventually(lambda: [process.inside_pid for process in guest.processes()] == [1], "only init is left")


def test_a_service_that_can_not_be_started_is_an_error(guest: Guest) -> None:
    with pytest.raises(GuestError, match="No such file"):
        guest.start_service(Service("agent", ["/nowhere"]))
    with pytest.raises(GuestError, match="agent"):
        guest.kill_service("agent", signal.SIGTERM)
    with pytest.raises(GuestError, match="log"):
        guest.start_service(Service("../agent", ["true"]))
    guest.start_service(Service("agent", ["sleep", "1000"]))
    with pytest.raises(GuestError, match="exists"):
        guest.start_service(Service("agent", ["sleep", "1000"]))


# Reboot


def test_a_reboot_keeps_the_disk_and_starts_services_again(guest: Guest) -> None:
    guest.start_service(Service("agent", ["sh", "-c", "echo up; exec sleep 1000"]))
    guest.run(["sh", "-c", "setsid sleep 2000 </dev/null >/dev/null 2>&1 &"])
    guest.write("/var/lib/waagent/state", b"kept")
    guest.write("/run/state", b"lost")
    before, machine = guest.boot_id(), guest.read("/etc/machine-id")
    guest.reboot()
    assert guest.boot_id() != before
    assert guest.read("/etc/machine-id") == machine
    assert guest.read("/var/lib/waagent/state") == b"kept"
    assert not guest.exists("/run/state")
    assert guest.service_running("agent")
    assert all("2000" not in process.argv for process in guest.processes())
    eventually(lambda: guest.service_log("agent") == b"up\nup\n", "it was started twice")


@pytest.mark.parametrize(
    "command", [["reboot"], ["shutdown", "-r", "now"], ["systemctl", "reboot"], ["systemctl", "--no-wall", "reboot"]]
)
def test_a_program_inside_can_reboot(guest: Guest, command: list[str]) -> None:
    before = guest.boot_id()
    guest.run(command, check=False)
    eventually(booted_again(guest, before), "it booted again")


def test_the_system_call_reboots_too(guest: Guest) -> None:
    before = guest.boot_id()
    restart = "import ctypes; ctypes.CDLL(None).reboot(0x01234567)"
    guest.run([simulated_guest.python(), "-c", restart], check=False)
    eventually(booted_again(guest, before), "it booted again")


def test_a_guest_that_powered_off_stays_off_until_it_is_rebooted(guest: Guest) -> None:
    guest.write("/etc/kept", b"")
    guest.run(["poweroff"], check=False)
    eventually(lambda: guest.processes() == [], "it is off")
    with pytest.raises(GuestError, match="powered off"):
        guest.run(["true"])
    guest.reboot()
    assert guest.exists("/etc/kept")


def test_a_reboot_need_not_be_waited_for(guest: Guest) -> None:
    before = guest.boot_id()
    guest.reboot(wait=False)
    eventually(booted_again(guest, before), "it booted again")
