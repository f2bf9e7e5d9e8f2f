"""What is said of an extension that is gone: never more than what the machine says it did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from support import objects
from vmext_operator.api import goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.core import farewell
from vmext_operator.core.farewell import Said
from vmext_operator.core.reachability import Presence

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
MACHINE = virtual_machine.parse(objects.machine())
ENTRY: dict[str, Any] = {
    "name": "hello",
    "uid": "uid-hello",
    "state": "uninstall",
    "sequenceNumber": 3,
    "settings": "{}",
    "timeoutSeconds": 60,
    "handler": {
        "name": "VMExt.CustomScript",
        "version": "2.1.0",
        "package": {"urls": ["http://127.0.0.1/x.zip"], "sha256": "0" * 64, "sizeBytes": 1},
    },
}


def said(
    status: dict[str, Any] | None, *, state: str = "uninstall", was_there: bool = True, **spec: Any
) -> Said | None:
    known = {"observedGeneration": 1, "sequenceNumber": 3} if was_there else {"observedGeneration": 1}
    extension = objects.extension(spec=spec, status=known, deletionTimestamp="2026-01-02T11:59:00Z")
    goal = {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 3, "extensions": [ENTRY | {"state": state}]}
    parsed = goal_state.parse(objects.goal_state("web-1", goal, status))
    found = virtual_machine_extension.parse(extension)
    return farewell.say(found, parsed.goal.extensions[0], parsed.report, MACHINE, Presence.THERE, NOW)


def removed(state: str = "uninstall", **fields: Any) -> dict[str, Any]:
    return {"extensions": {"hello": objects.answer(ENTRY | {"state": state}, "Removed", **fields)}}


@pytest.mark.parametrize(
    ("fields", "message", "warning"),
    [
        ({}, "uninstalled from web-1", False),
        (
            {"reason": "HandlerKept", "keptBy": "other"},
            "removed from web-1; VMExt.CustomScript stays, which other has",
            False,
        ),
        ({"reason": "NothingInstalled"}, "web-1 had nothing of VMExt.CustomScript installed", False),
        (
            {"reason": "UninstallFailed", "message": "exit 3"},
            "removed from web-1, and not as it should be: UninstallFailed: exit 3",
            True,
        ),
        ({"reason": "NotUninstalled"}, "removed from web-1, and not as it should be: NotUninstalled", True),
        ({"reason": "OfALaterAgent"}, "removed from web-1, and not as it should be: OfALaterAgent", True),
    ],
)
def test_uninstalled_is_said_only_of_what_is(fields: dict[str, Any], message: str, warning: bool) -> None:
    assert said(removed(**fields)) == Said("Removed", message, warning)


def test_what_was_left_on_purpose_is_not_said_to_be_uninstalled_when_the_machine_was_quick() -> None:
    found = said(removed("orphan"), state="orphan", deletionPolicy="Orphan")

    assert found == Said("Orphaned", "left on web-1: as its deletionPolicy says", warning=False)


def test_what_a_machine_had_before_it_got_a_new_goal_state_is_not_said_to_be_removed() -> None:
    assert said(None) is None
    found = said(None, state="orphan")
    assert found is not None
    assert (found.reason, found.warning) == ("Orphaned", True)
    assert said(None, was_there=False) == Said("Removed", "the agent of web-1 has never reported", warning=False)
