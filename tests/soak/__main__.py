"""Run the soak: ``python -m soak``. It goes on where it was interrupted, and ends with 1 where something was found."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from rich.console import Console

from soak import suites
from soak.ledger import Ledger, code_id
from soak.suite import Noted, Suite

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "soak.json"


def main(arguments: list[str]) -> int:
    """Run what is left of every suite that is asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    chosen = [suite for suite in suites.every() if _is_chosen(suite.name, options.only)]
    if not chosen:
        names = ", ".join(suite.name for suite in suites.every())
        console.print(f"no suite is called {' or '.join(options.only)}; there are {names}", markup=False)
        return 2
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    runner = Runner(Ledger(options.output), console, options.seed, seed)
    failed = [suite.name for suite in chosen if not runner.complete(suite, options.count, fresh=options.fresh)]
    console.print(f"written to {options.output}")
    if failed:
        console.print(f"[red]found something:[/red] {', '.join(failed)}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="Run random tests in full counts.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this suite, or all of a group")
    parser.add_argument("--fresh", action="store_true", help="begin anew, and forget the figures")
    parser.add_argument("--seed", type=int, metavar="N", help="base seed; another one than before begins anew")
    parser.add_argument("--count", type=int, metavar="N", help="so many runs of each suite instead of its full count")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="figures (build/soak.json)")
    return parser


def _is_chosen(name: str, only: list[str]) -> bool:
    return not only or any(name == one or name.startswith(f"{one}.") for one in only)


class Runner:
    """Runs suites chunk by chunk, and keeps their figures.

    Args:
        ledger: where the figures go.
        console: one line for each chunk goes there.
        seed: that was asked for, None for the one that a suite had before.
        fallback_seed: of a suite that has none yet.
    """

    def __init__(self, ledger: Ledger, console: Console, seed: int | None, fallback_seed: int) -> None:
        self._ledger = ledger
        self._console = console
        self._seed = seed
        self._fallback_seed = fallback_seed
        self._code = code_id((ROOT / "agent", ROOT / "operator"))

    def complete(self, suite: Suite, count: int | None, *, fresh: bool) -> bool:
        """Run what is left of a suite; tell whether nothing was found, now or before."""
        wanted = suite.full if count is None else count
        entry = self._ledger.entry(
            suite.name, wanted=wanted, seed=self._seed, fallback_seed=self._fallback_seed, fresh=fresh
        )
        if entry.done:
            stale = "; [yellow]some of it on other code[/yellow]" if entry.is_stale(self._code) else ""
            self._console.print(f"{suite.name}: {entry.done:,} of {wanted:,} were done before{stale}")
        while not entry.is_complete:
            chunk = min(suite.chunk, wanted - entry.done)
            seed, begun = entry.seed + entry.done, time.monotonic()
            found = suite.run(seed, chunk)
            seconds = time.monotonic() - begun
            note = suite.note if isinstance(suite, Noted) else ""
            entry = entry.after(chunk, seconds, found, self._code, note)
            self._ledger.put(suite.name, entry, self._code)
            rate = chunk / max(seconds, 1e-9)
            self._console.print(
                f"{suite.name}: {entry.done:,} of {wanted:,}, seed {seed}, {rate:,.{0 if rate > 10 else 1}f}/s"
                f"{f' ({note})' if note else ''}{f', [red]{len(found)} failures[/red]' if found else ''}"
            )
        for failure in entry.failures:
            self._console.print(f"  [red]{suite.name}[/red] ", end="")
            self._console.print(f"seed {failure.seed}: {failure.what}\n    {failure.reproduce}", markup=False)
        return not entry.failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
