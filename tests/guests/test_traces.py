"""Handlers see exactly what the contract says, and an update that fails leaves the old version in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine
from guests.scenarios import SCENARIOS
from guests.witness import Scenario, Stage

TABLE = Path(__file__).with_name("traces.txt")


def expected() -> dict[str, list[str]]:
    """Return the table: traces by title."""
    found: dict[str, list[str]] = {}
    for block in TABLE.read_text().split("\n\n"):
        title, *lines = block.strip().splitlines()
        found[title.removeprefix("# ")] = lines
    return found


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.title.replace(" ", "-")) for one in SCENARIOS])
def test_a_handler_sees_what_the_contract_says(machine: Machine, scenario: Scenario) -> None:
    found = Stage(machine, "Test.Witness", multi=scenario.multi).play(scenario)

    assert found == expected()[scenario.title]


def test_the_table_has_no_trace_that_is_not_played() -> None:
    assert list(expected()) == [scenario.title for scenario in SCENARIOS]
