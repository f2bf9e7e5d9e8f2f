"""A guest that writes its status without end: what the operator does for it is bounded, and others do not wait."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

import control_plane
from development import credentials
from development.api import Api, condition
from development.operator_process import Operator
from support import flood, objects
from support.declaring import declare, entries, image, machine, report, wait_entry
from support.waiting import eventually

EXTENSIONS = ("one", "two", "three")
FLOOD_PER_S = 200.0
FIRST_S, MEASURED_S = 10.0, 20.0
KIND = "VirtualMachineExtension"
_CPU = re.compile(r"^process_cpu_seconds_total (\S+)$", re.MULTILINE)
_REQUESTS = re.compile(r'^vmext_api_requests_total\{code="\d+",kind="([^"]+)",verb="(\w+)"\} (\S+)$', re.MULTILINE)


class Cost(NamedTuple):
    """What the operator has done so far: writes of whatever kind, Events among them, and its CPU time."""

    at: float
    writes: float
    events: float
    cpu_s: float


class Probed:
    """The operator, and what it says of itself."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        eventually(lambda: "probes served" in operator.log.read_text())
        self._port = re.findall(r"probes served port=(\d+)", operator.log.read_text())[-1]

    def cost(self) -> Cost:
        """Return what it has done so far."""
        text = requests.get(f"http://127.0.0.1:{self._port}/metrics", timeout=10).text
        found = [(kind, float(number)) for kind, verb, number in _REQUESTS.findall(text) if verb != "GET"]
        (cpu_s,) = _CPU.findall(text)
        events = sum(number for kind, number in found if kind == "events")
        return Cost(time.monotonic(), sum(number for _, number in found), events, float(cpu_s))


@pytest.fixture
def probed(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Probed]:
    """An operator for this test's machines alone: what it writes for those that other tests left is not measured."""
    options = ("--probe-address=127.0.0.1:0", f"--watch-namespaces={api.namespace}")
    made = Operator(credentials.of_operator(cluster, tmp_path), tmp_path / "operator.log", *options)
    made.start()
    yield Probed(made)
    made.stop()


@pytest.fixture
def types(api: Api) -> Iterator[dict[str, str]]:
    """A handler type of this test's own in the catalog for each extension."""
    names = {name: f"F{api.namespace.replace('-', '')}{name}" for name in EXTENSIONS}
    for type_ in names.values():
        api.apply(image(type_, "1.0.0"))
    yield names
    for type_ in names.values():
        api.delete("VirtualMachineExtensionImage", f"test.{type_}-1.0.0".lower())


def have(api: Api, types: dict[str, str], vm: str) -> dict[str, dict[str, Any]]:
    """Declare a machine and extensions, which it has; return the entries of its goal."""
    machine(api, vm)
    for name, type_ in types.items():
        declare(api, f"{name}-{vm}", type_, vm=vm)
        wait_entry(api, f"{name}-{vm}", vm=vm)
    report(api, vm, outcome="Succeeded", installed="1.0.0")
    for name in types:
        api.wait_ready(f"{name}-{vm}")
    return entries(api.get("GoalState", vm))


def flapping(known: dict[str, dict[str, Any]]) -> Callable[[int], flood.Status]:
    """Say of every extension that it failed, then that it succeeded, each time otherwise; and of its token, too."""

    def say(number: int) -> flood.Status:
        failed = {"reason": f"Reason{number % 50}", "message": f"for the {number}th time"}
        answers = {
            name: objects.answer(entry, "Failed", **failed)
            if (number + index) % 2
            else objects.answer(entry, "Succeeded", reason=None, message=f"well, {number}")
            for index, (name, entry) in enumerate(known.items())
        }
        held = {
            "id": f"token-{number}",
            "issuedAt": "2026-01-01T00:00:00Z",
            "expiresAt": f"2099-01-01T00:{number % 60:02}:00Z",
        }
        more = {"agentVersion": f"0.{number}", "credential": held, "guest": {"hostname": f"h{number}"}}
        return {"observedGeneration": 1, "extensions": answers, **more}

    return say


def greedy(known: dict[str, dict[str, Any]]) -> Callable[[int], flood.Status]:
    """Say each time that all numbers so far are taken: the operator answers with higher ones."""

    def say(number: int) -> flood.Status:
        behind = {"reason": "SequenceBehind", "message": "higher"}
        answers = {
            name: objects.answer(entry | {"sequenceNumber": 10 * number}, "Running", **behind)
            for name, entry in known.items()
        }
        return {"highestSequenceNumber": 10 * number, "extensions": answers}

    return say


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [flapping, greedy])
def test_what_follows_from_a_flood_of_reports_is_bounded_and_honest_machines_do_not_wait(
    probed: Probed,
    cluster: control_plane.Cluster,
    api: Api,
    types: dict[str, str],
    tmp_path: Path,
    way: Callable[[dict[str, dict[str, Any]]], Callable[[int], flood.Status]],
) -> None:
    known = have(api, types, "hostile")
    machine(api, "honest")
    quiet = [goal_latency(api, types["one"], number) for number in range(5)]

    with flood.running(cluster, api, tmp_path, "hostile", way(known), FLOOD_PER_S) as flooding:
        time.sleep(FIRST_S)
        before = probed.cost()
        time.sleep(MEASURED_S)
        after = probed.cost()
        rate = flooding.per_s
        beside = [goal_latency(api, types["one"], number) for number in range(5, 10)]

    seconds = after.at - before.at
    writes, events = (after.writes - before.writes) / seconds, after.events - before.events
    cpu = (after.cpu_s - before.cpu_s) / seconds
    alone_s, beside_s = statistics.median(quiet), statistics.median(beside)
    print(f"{way.__name__}: {rate:.0f} reports/s; operator: {writes:.2f} writes/s, {cpu:.0%} of a CPU,", end=" ")
    print(f"{events:.0f} Events in {seconds:.0f} s; apply to goal {alone_s:.3f} s alone, {beside_s:.3f} s beside")
    assert rate > 3, "that is no flood"
    assert writes <= 2
    assert events <= 1
    assert max(beside) < 5
    # The newest state arrives in the end.
    follow(api, "hostile", [f"{name}-hostile" for name in types])
    api.wait("VirtualMachine", "hostile", lambda vm: (vm or {})["status"].get("agentVersion") == "0.9", timeout_s=90)


def follow(api: Api, vm: str, names: list[str]) -> None:
    """Answer each goal once, as an honest agent does, until all extensions are ready."""
    answered = 0

    def is_ready() -> bool:
        nonlocal answered
        goal = api.get("GoalState", vm)
        assert goal is not None
        if goal["metadata"]["generation"] != answered:
            answered = goal["metadata"]["generation"]
            answer: dict[str, Any] = {"installedVersion": "1.0.0", "reason": None, "message": None}
            answers = {name: objects.answer(one, **answer) for name, one in entries(goal).items()}
            report(api, vm, agentVersion="0.9", extensions=answers)
        found = [condition(api.get(KIND, name), "Ready") for name in names]
        return all(one is not None and (one["status"], one["reason"]) == ("True", "Succeeded") for one in found)

    eventually(is_ready, timeout_s=90)


def goal_latency(api: Api, type_: str, number: int) -> float:
    """Return how long it takes from a declaration for an honest machine to its goal."""
    began = time.perf_counter()
    declare(api, "latency", type_, vm="honest", settings={"number": number})
    wait_entry(api, "latency", vm="honest", settings=f'{{"number":{number}}}')
    return time.perf_counter() - began
