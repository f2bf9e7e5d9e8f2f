"""Measure, print tables, write ``build/bench.json``: one flat object of figures, to which each benchmark adds."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import control_plane
from benchmarks import agent_cost, growth, latency, output, overhead
from benchmarks.enrolment import play as enrolment_play
from benchmarks.figure import Figure
from benchmarks.fleet import play
from benchmarks.growth import Cost
from benchmarks.tiny_extensions import TinyExtensions
from development import house
from development.api import Api
from guests import agent_machine

#: A namespace of its own for the agent that is measured without the operator.
NAMESPACE = "bench-agent"
#: Machines of the fleets, which show the growth; `make bench-fleet` goes on from the last one.
FLEETS = (100, 300, 1000)
NINE = [f"e{number:02}" for number in range(1, 10)]


def main() -> int:
    """Run every benchmark; return 1 where a figure misses its bar."""
    console = output.console()
    report = output.reporter(console)
    with tempfile.TemporaryDirectory(prefix="vmext-bench-") as name:
        folder = Path(name)
        with control_plane.available(folder / "control-plane", report) as cluster:
            figures = _measure_all_of_it(cluster, folder, report)
            of_the_agent, costs = _measure_the_agent(cluster, folder, report)
        enrolled, of_sizes, about_enrolment = enrolment_play.measure(folder / "enrolment", report)
        played = play.fleets(FLEETS, folder, report)
    of_fleets, tables = play.results_of(played)
    figures += [*of_the_agent, *growth.figures(costs), *enrolled, *of_fleets]
    points = [*growth.points(costs), *of_sizes]
    return output.finish(console, figures, points, [growth.table(costs), *about_enrolment, *tables])


def _measure_all_of_it(cluster: control_plane.Cluster, folder: Path, report: Callable[[str], None]) -> list[Figure]:
    """Measure what a user sees: the operator, the catalog, and an agent."""
    with house.running(folder, report, cluster=cluster) as running:
        guest = running.add_machine("bench-1")
        return [*latency.measure(running, report), *agent_cost.memory(guest, "", "idle", 20)]


def _measure_the_agent(
    cluster: control_plane.Cluster, folder: Path, report: Callable[[str], None]
) -> tuple[list[Figure], list[Cost]]:
    """Measure the agent alone: goals are written by hand."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    with (
        contextlib.closing(Api(cluster.kubeconfig, NAMESPACE)) as api,
        agent_machine.running(cluster, api, folder) as machine,
    ):
        # As every agent does unless its machine's unreachableAfter says otherwise.
        machine.more["heartbeatSeconds"] = 100
        tiny = TinyExtensions(machine)
        report(f"enabling {len(NINE)} extensions")
        tiny.want(NINE)
        tiny.wait("Succeeded")
        figures = [
            *overhead.measure(tiny, NINE[4], report),
            *agent_cost.idle(machine.guest, f"{len(NINE)} extensions", report),
            *agent_cost.memory(machine.guest, f"_{len(NINE)}_extensions", f"{len(NINE)} extensions enabled", 18),
        ]
        tiny.remove()
        return figures, growth.measure(tiny, report)


if __name__ == "__main__":
    sys.exit(main())
