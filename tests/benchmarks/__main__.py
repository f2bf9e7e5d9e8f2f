"""Measure, print a table, write ``build/bench.json``: one flat object of figures, to which later benchmarks add."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import agent_cost, latency
from benchmarks.figure import Figure
from development import house
from development.operator_process import ROOT

OUTPUT = ROOT / "build" / "bench.json"


def main() -> int:
    """Run every benchmark; return 1 where a figure misses its bar."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

    def report(line: str) -> None:
        console.print(f"[dim]{line}[/dim]", soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="vmext-bench-") as folder, house.running(Path(folder), report) as running:
        guest = running.add_machine("bench-1")
        figures = [*latency.measure(running, report), *agent_cost.measure(guest, report)]
    _write(figures)
    _print(console, figures)
    return 0 if all(figure.is_met for figure in figures) else 1


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
        table.add_row(figure.name, f"{figure.value:.3f}", bar, mark, figure.meaning)
    console.print(table)
    console.print(f"written to {OUTPUT.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
