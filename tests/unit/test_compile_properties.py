"""What holds of every goal, whatever is declared, reported, lost or edited before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings

from support import objects
from support.compiling import NOW
from unit import compile_properties
from unit.compile_properties import Step
from vmext_operator.api.goal_state import EntryState
from vmext_operator.core.goal_compile import compile_goal


@settings(max_examples=300)
@given(compile_properties.LIVES)
def test_random_lives(life: tuple[list[Step], int]) -> None:
    compile_properties.live(*life)


def test_a_deadline_that_passes_leaves_it_on_the_machine() -> None:
    leaving = objects.extension(deletionTimestamp="2026-01-01T00:09:00Z", spec={"deletionTimeout": "2m"})
    step = Step(objects.machine(), [objects.extension()], [objects.image()], None, {}, 0, False, False, [])
    first = compile_goal(compile_properties.declared(step, None)).goal
    told = compile_goal(compile_properties.declared(replace(step, extensions=[leaving]), first)).goal
    late = compile_properties.declared(replace(step, extensions=[leaving]), told)
    assert told.extensions[0].state is EntryState.UNINSTALL
    after = compile_goal(replace(late, now=NOW + timedelta(minutes=1))).goal
    assert after.extensions[0].state is EntryState.ORPHAN
