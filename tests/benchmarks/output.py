"""How figures are shown and kept: a table for people, ``build/bench.json`` for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure
from development.operator_process import ROOT

OUTPUT = ROOT / "build" / "bench.json"


def console() -> Console:
    """Return where everything is printed."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def reporter(on: Console) -> Callable[[str], None]:
    """Return what prints a line of progress."""
    return lambda line: on.print(f"[dim]{line}[/dim]", soft_wrap=True)


def finish(on: Console, figures: Sequence[Figure], points: Sequence[Figure], tables: Sequence[Table]) -> int:
    """Print figures and tables, add figures and points to those that are kept; return 1 where a bar is missed."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    known |= {figure.name: round(figure.value, 4) for figure in (*figures, *points)}
    OUTPUT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    on.print(_table(figures))
    for table in tables:
        on.print(table)
    on.print(f"written to {OUTPUT.relative_to(ROOT)}")
    return 0 if all(figure.is_met for figure in figures) else 1


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(title="vmext, measured on this machine", title_justify="left")
    for column in ("figure", "value", "bar", ""):
        table.add_column(column, no_wrap=True, justify="right" if column in ("value", "bar") else "left")
    # It is what gives way where there is no room: a figure that is cut off is none.
    table.add_column("what it is", overflow="fold", ratio=1)
    for figure in figures:
        bar = "" if figure.bar is None else f"{'≥' if figure.at_least else '≤'} {figure.bar:g}"
        mark = "" if figure.bar is None else "[green]met[/green]" if figure.is_met else "[red]missed[/red]"
        table.add_row(figure.name, f"{figure.value:.4f}", bar, mark, figure.meaning)
    return table
