"""An agent that is killed at any moment: every command runs once, in order, and the machine comes to its goal."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine, interrupted_life
from guests.agent_machine import Machine
from guests.interrupted_life import Killer
from guests.witness import Does, Remove, Stage, Want

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


def test_a_goal_is_on_disk_before_anything_of_it_runs(machine: Machine) -> None:
    # Killed with an older goal on disk, an agent enabled again what it had just disabled in order to remove it.
    stage, own = Stage(machine, "Test.Kept", multi=False), "/var/lib/vmext"
    wanted = {"install": "enabled", "enable": "enabled", "disable": "uninstall"}
    for command in wanted:
        copy = f"cp -p {own}/goal.json /root/{command}-goal; cp -p {own}/commands/*/step.json /root/{command}-step"
        stage.play_one(Does("1.0.0", command, copy))
    # A goal that is long takes its time to be written.
    for number in range(8):
        machine.want(name=f"long-{number}", state="orphan", settings={"long": "\u00e4" * 15_000})
    stage.play_one(Want())
    stage.play_one(Remove())

    for command, state in wanted.items():
        kept = json.loads(machine.guest.read(f"/root/{command}-goal"))
        states = {entry["name"]: entry["state"] for entry in kept["spec"]["extensions"]}
        assert states[stage.key("one")] == state
        written, begun = (machine.guest.path(f"/root/{command}-{what}").stat().st_mtime_ns for what in ("goal", "step"))
        assert written <= begun


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
