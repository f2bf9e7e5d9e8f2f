"""An agent that is killed at any moment: every command runs once, in order, and the machine comes to its goal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine, interrupted_life
from guests.agent_machine import Machine
from guests.interrupted_life import Killer

#: The slice of ``make test``; ``make soak`` has the full counts.
SEED = 20_261_124
RANDOM_LIVES = 12
EVERY_RECORD = 4


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent={"killAfterSeconds": 1}) as running:
        yield running


def test_a_life_that_nobody_interrupts_runs_what_the_others_are_measured_by(machine: Machine) -> None:
    interrupted_life.prepare(machine, "Test.Quiet")
    interrupted_life.live(machine, "Test.Quiet")

    interrupted_life.check(machine, "Test.Quiet", 0)


def test_killed_at_random_moments_it_runs_each_command_once(machine: Machine) -> None:
    draw, killer = random.Random(SEED), Killer(machine)
    for number in range(RANDOM_LIVES):
        interrupted_life.live_at_random(machine, f"Test.R{number}", killer, draw)

    assert killer.kills >= RANDOM_LIVES


def test_killed_whenever_it_has_put_a_record_in_place_it_runs_each_command_once(machine: Machine) -> None:
    killer, number = Killer(machine), 1 + SEED % EVERY_RECORD
    while interrupted_life.live_to_record(machine, f"Test.K{number}", killer, number):
        number += EVERY_RECORD

    assert killer.kills >= 60 // EVERY_RECORD
