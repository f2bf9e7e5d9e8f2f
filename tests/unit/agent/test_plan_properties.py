"""What holds in every life of a machine, whatever is wanted of it, fails, crashes or reboots."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from unit.agent import plan_properties
from unit.agent.plan_properties import Turn
from vmext_agent.records import Folder


@settings(derandomize=True, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(plan_properties.LIVES)
def test_a_machine_comes_to_rest_at_its_goal_or_says_why(life: tuple[dict[str, Folder], list[Turn], int]) -> None:
    plan_properties.live(*life)
