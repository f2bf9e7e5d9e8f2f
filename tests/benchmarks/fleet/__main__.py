"""Measure a fleet: ``make bench-fleet``, or ``python -m benchmarks.fleet --machines 300``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import output
from benchmarks.fleet import play


def main() -> int:
    """Play fleets; return 1 where a figure misses its bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--machines", type=int, default=10_000, help="in the largest fleet (default: 10000)")
    machines = parser.parse_args().machines
    console = output.console()
    with tempfile.TemporaryDirectory(prefix="vmext-fleet-") as folder:
        played = play.fleets([max(1, machines // 10), machines], Path(folder), output.reporter(console))
    found, tables = play.results_of(played, suffix=f"_{machines // 1000}k" if machines > 1000 else "")
    return output.finish(console, found, [], tables)


if __name__ == "__main__":
    sys.exit(main())
