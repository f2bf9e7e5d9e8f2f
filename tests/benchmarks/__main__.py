"""Measure, print tables, write ``build/bench.json``: one flat object of figures, to which later benchmarks add."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import control_plane
from benchmarks import agent_cost, growth, latency, overhead
from benchmarks.figure import Figure
from benchmarks.growth import Cost
from benchmarks.tiny_extensions import TinyExtensions
from development import house
from development.api import Api
from development.operator_process import ROOT
from guests import agent_machine

OUTPUT = ROOT / "build" / "bench.json"
#: A namespace of its own for the agent that is measured without the operator.
NAMESPACE = "bench-agent"
NINE = [f"e{number:02}" for number in range(1, 10)]


def main() -> int:
    """Run every benchmark; return 1 where a figure misses its bar."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

    def report(line: str) -> None:
        console.print(f"[dim]{line}[/dim]", soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="vmext-bench-") as name:
        folder = Path(name)
        with control_plane.available(folder / "control-plane", report) as cluster:
            figures = _measure_all_of_it(cluster, folder, report)
            of_the_agent, costs = _measure_the_agent(cluster, folder, report)
    figures += [*of_the_agent, *growth.figures(costs)]
    _write([*figures, *growth.points(costs)])
    _print(console, figures)
    console.print(growth.table(costs))
    console.print(f"written to {OUTPUT.relative_to(ROOT)}")
    return 0 if all(figure.is_met for figure in figures) else 1


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


def _write(figures: list[Figure]) -> None:
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    known |= {figure.name: round(figure.value, 4) for figure in figures}
    OUTPUT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _print(console: Console, figures: list[Figure]) -> None:
    table = Table(title="vmext, measured on this machine", title_justify="left")
    for column in ("figure", "value", "bar", "", "what it is"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("value", "bar") else "left")
    for figure in figures:
        bar = "" if figure.bar is None else f"≤ {figure.bar:g}"
        mark = "" if figure.bar is None else "[green]met[/green]" if figure.is_met else "[red]missed[/red]"
        table.add_row(figure.name, f"{figure.value:.4f}", bar, mark, figure.meaning)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
