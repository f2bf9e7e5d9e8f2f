"""The agent as systemd's service: what it runs, what it shows, and what its own ends do to commands."""

from __future__ import annotations

import pytest

from development.api import condition
from development.house import extension
from vm.site import LONG_S, UNIT, Site, once

pytestmark = pytest.mark.timeout(3600)

#: Waits for the test, which stops it or lets it go on.
WAITS = "echo $$ > /var/pid; while [ ! -e /var/gate ]; do sleep 0.2; done"
DONE = 'report success "enabled"'
LIMIT = "64Mi"
#: Takes a part of the memory that is smaller than the limit, and keeps it.
TAKES = "python3 -c 'import time; taken = bytearray(45 << 20); print(len(taken), flush=True); time.sleep(1000)'"


def restarts(site: Site) -> int:
    """Return how often systemd has started the agent again."""
    return int(site.machine.run(["systemctl", "show", "-P", "NRestarts", UNIT]).text)


def killed_for_memory(site: Site) -> int:
    """Return how often the kernel has killed in a group that was over its limit."""
    return site.machine.run("dmesg").text.count("constraint=CONSTRAINT_MEMCG")


def test_an_extension_becomes_ready(site: Site) -> None:
    settings = {"commandToExecute": "cat /etc/debian_version"}
    site.api.apply(extension("hello", site.machine.name, settings=settings))

    ready = site.api.wait_ready("hello", timeout_s=LONG_S)

    version = site.machine.read("/etc/debian_version").decode().strip()
    assert version in str(ready["status"]["statuses"])


@pytest.mark.parametrize("level", [-1, -2, 1], ids=["its-scope", "its-handlers-slice", "the-slice-of-all"])
def test_a_command_whose_group_is_stopped_by_hand_is_begun_again(site: Site, level: int) -> None:
    site.offer("Stopped", "1.0.0")
    site.does("enable", once(WAITS, DONE))
    site.declare("stopped", "Stopped")
    site.wait_began("1.0.0 enable")
    group = site.machine.run("cat /proc/$(cat /var/pid)/cgroup").text.strip().rpartition("::")[2]
    unit = group.split("/")[level]
    assert unit.endswith((".scope", ".slice")), group

    site.machine.run(["systemctl", "stop", unit])

    ready = site.api.wait_ready("stopped", timeout_s=LONG_S)
    assert ready["status"]["statuses"][0]["message"] == "enabled"
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]


def test_an_agent_that_fails_many_times_in_a_row_is_started_again(site: Site) -> None:
    program = site.machine.run(["readlink", "/usr/bin/vmext-agent"]).text.strip()
    # An emulated machine is slow to fail: it is to fail more than five times in ten seconds.
    quick = f"/run/systemd/system/{UNIT}.service.d/quick.conf"
    site.machine.write(quick, b"[Service]\nRestartSec=10ms\n")
    before = restarts(site)
    try:
        site.machine.run(
            f"ln -sf /bin/false /usr/bin/vmext-agent && systemctl daemon-reload && kill -9 {site.main_pid()}"
        )
        site.eventually(lambda: restarts(site) > before + 10, "systemd has given up on the agent")
    finally:
        site.machine.run(f"ln -sf {program} /usr/bin/vmext-agent; rm {quick}; systemctl daemon-reload")

    site.eventually(lambda: site.main_pid() > 0, "the agent was not started again")
    site.offer("Again", "1.0.0")
    site.declare("again", "Again")
    site.api.wait_ready("again", timeout_s=LONG_S)


def test_a_handler_that_takes_more_than_its_memory_is_told_so(site: Site) -> None:
    site.offer("Greedy", "1.0.0", limits={"memory": LIMIT})
    site.does("enable", "python3 -c 'bytearray(200 << 20)' || exit 9")
    site.declare("greedy", "Greedy")

    stalled = site.api.wait_stalled("greedy", timeout_s=LONG_S)

    stalled_for = condition(stalled, "Stalled")
    assert stalled_for is not None
    assert stalled_for["reason"] == "OutOfMemory"
    assert LIMIT in stalled_for["message"]


def test_a_limit_of_memory_is_for_all_that_a_handler_has_running(site: Site) -> None:
    site.offer("Both", "1.0.0", limits={"memory": LIMIT})
    # Each is below the limit; both together are not.
    site.does("install", f"{TAKES} > /var/taken 2>&1 &\nwhile [ ! -s /var/taken ]; do sleep 0.2; done")
    site.does("enable", f"{TAKES.replace('1000', '0')} || exit 9\n{DONE}")
    before = killed_for_memory(site)
    site.declare("both", "Both")

    site.eventually(lambda: killed_for_memory(site) > before, "nothing was killed, and both are over the limit")


def test_an_agent_that_is_restarted_during_a_command_lets_it_go_on_and_systemd_has_no_complaint(site: Site) -> None:
    site.offer("Goes", "1.0.0")
    site.does("enable", f"{WAITS}\n{DONE}")
    site.declare("goes", "Goes")
    site.wait_began("1.0.0 enable")
    site.eventually(lambda: site.machine.read("/var/pid"), "the command has not said who it is")
    pid = site.machine.read("/var/pid").decode().strip()
    # By the journal's own position: clocks may be set between.
    cursor = site.machine.run("journalctl -n 0 --show-cursor -q").text.strip().removeprefix("-- cursor: ")

    site.machine.run(["systemctl", "restart", UNIT])

    site.machine.run(["kill", "-0", pid])
    said = site.machine.run(["journalctl", "-u", UNIT, "--after-cursor", cursor, "-o", "cat"]).text
    assert "Started" in said
    assert "left-over" not in said.lower()
    assert "deficiencies" not in said
    site.machine.write("/var/gate", b"")
    site.api.wait_ready("goes", timeout_s=LONG_S)
    assert site.order() == ["1.0.0 install", "1.0.0 enable"]


def test_its_status_fits_on_a_screen_while_a_command_runs(site: Site) -> None:
    site.offer("Screen", "1.0.0")
    site.does("enable", f"{WAITS}\n{DONE}")
    site.declare("screen", "Screen")
    site.wait_began("1.0.0 enable")

    shown = site.machine.run(["systemctl", "status", "--full", "--no-pager", "--lines=0", UNIT]).text

    assert "active (running)" in shown
    assert len(shown.splitlines()) <= 20, shown
    assert max(map(len, shown.splitlines())) <= 200, shown
    site.machine.write("/var/gate", b"")


def test_its_journal_has_what_the_agent_logs(site: Site) -> None:
    site.offer("Journal", "1.0.0")
    site.does("enable", "exit 3")
    site.declare("journal", "Journal")
    site.api.wait_stalled("journal", timeout_s=LONG_S)

    logged = site.machine.run(["journalctl", f"_SYSTEMD_UNIT={UNIT}.service", "-o", "cat", "-n", "200"]).text

    assert "journal" in logged, logged
