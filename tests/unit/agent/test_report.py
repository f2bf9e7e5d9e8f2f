"""What is reported fits the API's limits, whatever a handler says, and only what differs is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.agent import goals, schema
from unit.agent.goals import entry, record
from vmext_agent import lifecycle, records, report, status
from vmext_agent.goal_state import Key, Refused
from vmext_agent.hold import Held
from vmext_agent.records import Enabled, HandlerStatus, Record, Verdict
from vmext_agent.status import ExtensionStatus, Substatus

NOW = 1_800_000_000.0
SCHEMA = schema.status_schema()


def document(of: Record, said: ExtensionStatus | None = None, operation: str = "", now: float = NOW) -> dict[str, Any]:
    made = report.extension(of, operation=operation, said=said, ended=goals.NOW, now=now, version="1.0.0")
    schema.check({"observedGeneration": 1, "extensions": {"one": made}}, SCHEMA)
    return made


def enabled(until: float = NOW + 60) -> Record:
    return record(entry(), enabled=True)._replace(enabled=Enabled("uid-1", "1.0.0", 1, goals.BOOT, until))


def test_an_entry_that_is_being_worked_on_says_with_what() -> None:
    made = document(record(entry()), operation="Download")

    assert (made["outcome"], made["operation"]) == ("Running", "Download")
    assert "endTime" not in made


def test_a_removal_says_who_keeps_the_handler() -> None:
    gone = record(entry(state="uninstall"))

    kept = document(lifecycle.forgotten(gone, goals.NOW, "two"))
    uninstalled = document(lifecycle.forgotten(gone._replace(removal=records.UNINSTALLED), goals.NOW, ""))

    assert (kept["outcome"], kept["reason"], kept["keptBy"]) == ("Removed", "HandlerKept", "two")
    assert kept["message"] == "Test.Tracer stays, which two has"
    assert uninstalled["outcome"] == "Removed"
    assert not uninstalled.keys() & {"reason", "message", "keptBy"}


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("success", "Succeeded"), ("warning", "Succeeded"), ("error", "Failed"), ("transitioning", "Running")],
)
def test_the_status_file_of_an_enabled_extension_decides(word: str, outcome: str) -> None:
    assert document(enabled(), ExtensionStatus(word, message="so"))["outcome"] == outcome


@pytest.mark.parametrize("said", [None, ExtensionStatus("transitioning")])
def test_an_extension_that_says_nothing_final_in_time_has_timed_out(said: ExtensionStatus | None) -> None:
    before, after = document(enabled(), said, now=NOW + 59), document(enabled(), said, now=NOW + 60)

    assert before["outcome"] == "Running"
    assert (after["outcome"], after["reason"]) == ("Failed", "TimedOut")


def test_the_time_of_an_extension_begins_with_the_boot_that_enables_it() -> None:
    # Whatever the clock shows: in another boot nothing is over by time (``now`` is 0 there).
    assert document(enabled(), None, now=0.0)["outcome"] == "Running"


def test_a_final_status_after_the_time_is_over_still_wins() -> None:
    assert document(enabled(), ExtensionStatus("success"), now=NOW + 999)["outcome"] == "Succeeded"


def test_the_longest_of_everything_stays_within_an_extensions_share() -> None:
    long = "\u20ac" * 20_000
    verdict = Verdict("Failed", "Enable", "EnableFailed", long, goals.NOW)
    part = Substatus("n" * 256, "error", 1, long[:16384])
    said = ExtensionStatus("error", "o" * 256, 1, long[:16384], "", (part,) * 64)

    made = document(enabled()._replace(verdict=verdict, handler_status=HandlerStatus("NotReady", 1009, long)), said)

    assert report.size(made) <= report.EXTENSION_BYTES
    assert "left out" in made["message"]


def test_two_hundred_long_winded_extensions_stay_within_the_whole() -> None:
    said = ExtensionStatus("error", message="x" * 16384, substatuses=(Substatus("n", "error", 1, "y" * 16384),) * 64)
    one = document(enabled(), said)

    made = report.whole({"agentVersion": "1"}, {f"e{number}": (one, report.size(one)) for number in range(256)})

    schema.check(made, SCHEMA)
    assert report.size(made) <= report.TOTAL_BYTES


def test_an_entry_that_makes_no_sense_is_reported() -> None:
    made = report.refused(Refused("one", Key("uid", "enabled", 1, "1"), "spec is wrong"), goals.NOW)

    schema.check({"extensions": {"one": made}}, SCHEMA)
    assert made["reason"] == "InvalidGoalState"


def test_only_what_differs_is_sent() -> None:
    old = {"a": 1, "b": {"c": 1, "d": 2}, "gone": 1, "list": [{"x": 1}]}
    new = {"a": 1, "b": {"c": 1, "e": 3}, "list": [{"x": 2}]}

    assert report.merge_patch(old, new) == {"b": {"d": None, "e": 3}, "gone": None, "list": [{"x": 2}]}
    assert report.merge_patch(new, new) == {}


def test_fifty_extensions_with_long_files_still_report_all_that_tells_how_they_stand() -> None:
    word = {"status": "error", "code": 3, "formattedMessage": {"message": "z" * 131072}}
    said = status.parse(json.dumps([{"status": word}]).encode())
    one = document(enabled(), said)

    made = report.whole({"agentVersion": "1"}, {f"e{number}": (one, report.size(one)) for number in range(50)})

    assert len(json.dumps(made)) <= report.TOTAL_BYTES
    extensions = made["extensions"]
    assert isinstance(extensions, dict)
    assert len(extensions) == 50
    for found in extensions.values():
        assert (found["outcome"], found["reason"], found["extensionStatus"]["code"]) == ("Failed", "ExecutionFailed", 3)
        assert "left out" in found["extensionStatus"]["message"]


def test_an_entry_that_is_held_says_why_and_not_how_an_earlier_one_ended() -> None:
    held = Held("PolicyForbids", "not on the list", failed=True)
    wanted = goals.entry(number=7).key

    made = report.extension(
        enabled(),
        operation="",
        said=None,
        ended="",
        now=0.0,
        version="1.0.0",
        held=held,
        key=wanted,
        notes=("n" * 5000,),
    )

    assert (made["sequenceNumber"], made["outcome"], made["reason"]) == (7, "Failed", "PolicyForbids")
    assert made["installedVersion"] == "1.0.0"
    assert "endTime" not in made
    notes = made["notes"]
    assert isinstance(notes, list)
    assert [len(note) for note in notes] == [1024]


def test_what_differs_only_in_when_it_was_is_no_news() -> None:
    said = ExtensionStatus(
        status.SUCCESS, "Enable", 0, "done", "2026-01-01T00:00:00Z", (Substatus("a", "success", 0, ""),)
    )
    first = document(enabled(), said)
    later = {**document(enabled(), said._replace(time="2026-01-01T00:00:05Z")), "endTime": "2026-01-01T00:00:05Z"}

    assert first != later
    assert report.without_times(first) == report.without_times(later)


@pytest.mark.parametrize(
    "change",
    [{"message": "other"}, {"status": status.WARNING}, {"code": 1}, {"substatuses": ()}, {"operation": "Other"}],
)
def test_anything_else_is(change: dict[str, Any]) -> None:
    said = ExtensionStatus(
        status.SUCCESS, "Enable", 0, "done", "2026-01-01T00:00:00Z", (Substatus("a", "success", 0, ""),)
    )

    assert report.without_times(document(enabled(), said)) != report.without_times(
        document(enabled(), said._replace(**change))
    )
