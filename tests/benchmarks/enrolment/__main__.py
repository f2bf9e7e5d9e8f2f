"""Measure enrolment and renewal alone: ``python -m benchmarks.enrolment``; ``make bench`` has it too."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import output
from benchmarks.enrolment import play


def main() -> int:
    """Enrol fleets; return 1 where a figure misses its bar."""
    console = output.console()
    with tempfile.TemporaryDirectory(prefix="vmext-enrol-") as folder:
        figures, points, tables = play.measure(Path(folder), output.reporter(console))
    return output.finish(console, figures, points, tables)


if __name__ == "__main__":
    sys.exit(main())
