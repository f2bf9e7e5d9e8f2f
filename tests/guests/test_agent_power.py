"""A machine that loses its power at any moment: every command is run, in order, and that which was cut off again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine, interrupted_life
from guests.agent_machine import Machine
from guests.interrupted_life import PowerCutter

#: The slice of ``make test``; ``make soak`` has the full count.
SEED = 20_261_125
LIVES = 6


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    agent = {"killAfterSeconds": 1}
    with agent_machine.running(cluster, api, tmp_path, agent=agent, ext4=True, small=False) as running:
        yield running


def test_without_power_at_random_moments_it_runs_each_command_and_comes_to_its_goal(machine: Machine) -> None:
    draw, cutter = random.Random(SEED), PowerCutter(machine)
    for number in range(LIVES):
        interrupted_life.live_without_power(machine, f"Test.P{number}", cutter, draw)

    assert cutter.kills >= LIVES // 2
