"""The operator's way with what a guest reports: parse it, compile the next goal, project it to what users see."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import Any

from support import objects
from unit.agent import schema
from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.core import goal_compile, machine_status, projection, undeclared
from vmext_operator.core.declared import Declared
from vmext_operator.core.reachability import Presence
from vmext_operator.errors import ParseError

EXPECTED = (ParseError,)
NOW = "2026-01-02T00:00:00Z"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
_MACHINE = virtual_machine.parse(objects.machine())
_EXTENSION = virtual_machine_extension.parse(objects.extension("one", uid="uid-one"))
_CATALOG = {_EXTENSION.handler_key: [extension_image.parse(objects.image())]}
_INT64 = 1 << 63


def feed(data: bytes, folder: str) -> None:
    """Take a GoalState as JSON. Raises ParseError, and anything else where a guest could do harm."""
    try:
        obj = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(obj, dict):
        return
    found = goal_state.parse(obj)
    given = [found.goal.last_sequence_number, *(entry.sequence_number for entry in found.goal.extensions)]
    if not _is_taken(obj.get("status")) or not all(0 <= number < 1 << 53 for number in given):
        # The API server would not have let it in, or nobody but the operator writes it: to be parsed is enough.
        return
    compiled = goal_compile.compile_goal(
        Declared(
            machine=_MACHINE,
            extensions=[_EXTENSION],
            catalog=_CATALOG,
            last=found.goal,
            report=found.report,
            gone=frozenset(),
            now=datetime(2026, 1, 2, tzinfo=UTC),
        )
    )
    numbers = [compiled.goal.last_sequence_number, *(entry.sequence_number for entry in compiled.goal.extensions)]
    assert all(0 <= number < _INT64 for number in numbers), "a sequence number that the API server can't take"
    json.dumps(compiled.goal.render())
    situation = projection.Situation(_EXTENSION, found.goal.entry("one"), None, found.report)
    projected = projection.project_extension(situation, stage_age_s=1.0, now=NOW)
    others = undeclared.of_machine(found.report, [])
    machine = machine_status.project(_MACHINE, found.report, Presence.THERE, [projected], "", NOON, others=others)
    json.dumps([projected.status, machine])


@functools.cache
def _schema() -> dict[str, Any]:
    return schema.status_schema()


def _is_taken(status: Any) -> bool:
    """Tell whether the API server lets a guest write this."""
    if status is None:
        return True
    try:
        schema.check(status, _schema())
    except AssertionError:
        return False
    return True
