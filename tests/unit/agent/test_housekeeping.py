"""What would grow for ever is capped, and what is still needed is kept."""

from __future__ import annotations

import os
from pathlib import Path

from unit.agent.goals import HANDLER
from vmext_agent.housekeeping import Housekeeping
from vmext_agent.layout import Layout
from vmext_agent.log import Log
from vmext_agent.records import Disk, Folder

HANDLERS = {HANDLER: {"1.0.0": Folder("Enabled")}}


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for age, name in enumerate(reversed(names)):
        (folder / name).write_text("")
        os.utime(folder / name, (1_000_000 - age, 1_000_000 - age))


def tidy(root: Path) -> Housekeeping:
    made = Housekeeping(Layout(str(root)), Log(None))
    made.turn(Disk({}, HANDLERS, "boot"), is_idle=True)
    return made


def test_the_newest_events_of_a_handler_are_kept(tmp_path: Path) -> None:
    events = tmp_path / f"var/log/azure/{HANDLER}/events"
    fill(events, *(f"{number}.json" for number in range(150)))

    tidy(tmp_path)

    assert {path.name for path in events.iterdir()} == {f"{number}.json" for number in range(50, 150)}


def test_the_highest_numbers_of_each_extension_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / f"var/lib/waagent/{HANDLER}-1.0.0/config"
    fill(folder, *(f"{number}.settings" for number in range(1, 51)), "a.3.settings", "HandlerState", "12.settings.bak")

    tidy(tmp_path)

    left = {path.name for path in folder.iterdir()}
    assert left == {
        *(f"{number}.settings" for number in range(19, 51)),
        "a.3.settings",
        "HandlerState",
        "12.settings.bak",
    }


def test_of_what_could_not_be_read_the_newest_copies_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/vmext/extensions"
    fill(folder, *(f"one.json.corrupt-{number}" for number in range(1, 9)), "one.json", "two.json.corrupt-1")

    tidy(tmp_path)

    left = {path.name for path in folder.iterdir()}
    assert left == {"one.json", "two.json.corrupt-1", *(f"one.json.corrupt-{number}" for number in (6, 7, 8))}


def test_it_is_done_once_an_hour(tmp_path: Path) -> None:
    made = tidy(tmp_path)

    assert 3590 < made.wait_s() <= 3600
