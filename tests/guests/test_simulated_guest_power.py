"""A guest whose power is cut loses what was not synced, keeps what was, and leaves nothing on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import simulated_guest
from simulated_guest import Guest, GuestError
from support.guests import skipping
from support.waiting import eventually


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    with skipping(), simulated_guest.running("power-1", folder=tmp_path, ext4=True, small=False) as running:
        yield running


def loops(folder: Path) -> list[str]:
    found = []
    for known in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append(known.read_text().strip())
        except OSError:
            continue
    return [path for path in found if path.startswith(str(folder))]


def shell(guest: Guest, script: str) -> str:
    return guest.run(["sh", "-c", script]).stdout.decode()


def test_what_was_synced_is_there_and_what_was_not_is_lost(guest: Guest) -> None:
    shell(guest, "cd /root; echo kept > kept; sync kept .; echo lost > lost")
    before = guest.boot_id()

    guest.lose_power()

    assert guest.boot_id() != before
    assert guest.read("/root/kept") == b"kept\n"
    assert not guest.exists("/root/lost") or guest.read("/root/lost") != b"lost\n"
    assert shell(guest, "cat /etc/hostname").strip() == "power-1"


def test_a_rename_is_as_durable_as_its_folder(guest: Guest) -> None:
    shell(guest, "cd /root; echo old > file; sync file .; echo new > file.new; sync file.new; mv file.new file; sync .")

    guest.lose_power()

    assert guest.read("/root/file") == b"new\n"


def test_a_file_of_the_host_that_was_changed_survives_too(guest: Guest) -> None:
    shell(guest, "echo '# more' >> /etc/hosts; sync /etc/hosts /etc")

    guest.lose_power()

    assert guest.read("/etc/hosts").endswith(b"# more\n")


def test_power_can_be_cut_again_and_again_and_nothing_piles_up(guest: Guest, tmp_path: Path) -> None:
    for number in range(5):
        shell(
            guest,
            f"cd /root; echo {number} >> log; sync log .; (while :; do echo rubbish; done) > busy 2>&1 & sleep 0.05",
        )
        guest.lose_power()

        assert guest.read("/root/log").split()[-1] == str(number).encode()
        assert len(loops(tmp_path)) == 1


def test_nothing_of_it_stays_when_it_ends(tmp_path: Path) -> None:
    with skipping(), simulated_guest.running("power-2", folder=tmp_path, ext4=True, small=False) as running:
        running.lose_power()
    eventually(lambda: not loops(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_another_guest_has_no_power_to_be_cut(tmp_path: Path) -> None:
    refused = pytest.raises(GuestError, match="no disk whose power can be cut")
    with skipping(), simulated_guest.running("tmpfs-1", folder=tmp_path) as running, refused:
        running.lose_power()
