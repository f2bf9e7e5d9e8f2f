"""What the agent adds to an extension: before its command starts, and after its status file is written."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import sightings, tiny_extensions
from benchmarks.figure import Figure
from benchmarks.sightings import Sightings
from benchmarks.tiny_extensions import TinyExtensions

STARTS = 60
REPORTS = 50
#: Of each: the first ones, in which files come into the caches.
WARM_UP = 10
BAR_S = 0.03
#: Between two measurements: what the agent still does after the last one is no part of the next.
APART_S = 0.05
#: What nobody asked for is reported once a second after a burst: a report of an idle machine is one that need not wait.
REPORTS_APART_S = 1.0
#: Final states alone are reported at once, and this is what each word of a status file comes to.
_WORDS = (("error", "Failed"), ("success", "Succeeded"))


def measure(tiny: TinyExtensions, name: str, report: Callable[[str], None]) -> list[Figure]:
    """Enable an installed extension anew, and rewrite its status file, many times each."""
    with sightings.watching(tiny.machine) as seen:
        report(f"enabling an installed extension {WARM_UP + STARTS} times")
        starts = [_start(tiny, name, seen) for _ in range(WARM_UP + STARTS)][WARM_UP:]
        report(f"rewriting its status file {WARM_UP + REPORTS} times")
        reports = [_report(tiny, name, seen, number) for number in range(WARM_UP + REPORTS)][WARM_UP:]
    return [
        *_figures("agent_start_overhead", starts, f"goal seen to the handler's first act, n={STARTS}"),
        *_figures("agent_report_overhead", reports, f"status file renamed to status seen by a watch, n={REPORTS}"),
    ]


def _figures(name: str, seconds: list[float], meaning: str) -> list[Figure]:
    return [
        Figure(f"{name}_p50_s", statistics.median(seconds), meaning, BAR_S),
        Figure(f"{name}_p95_s", statistics.quantiles(seconds, n=20)[18], "the same, 95th percentile"),
    ]


def _start(tiny: TinyExtensions, name: str, seen: Sightings) -> float:
    """Return the seconds from when a goal could be seen to the first act of the command that it asks for.

    A goal can be seen when a watch brings it: the one here stands for the agent's, whose own moment nobody outside can
    know. The answer to who wrote the goal may be earlier, and the earlier one counts, so that no time is left out.
    """
    time.sleep(APART_S)
    number = tiny.enable_again(name)
    answered = time.time()
    shown = seen.first(lambda obj: any(one["sequenceNumber"] == number for one in obj["spec"]["extensions"]))
    seen.first(lambda obj: _stands(obj, name) == (number, "Succeeded"))
    started = float(tiny.path(name, f"started.{number}").read_text())
    return started - min(answered, shown.at)


def _report(tiny: TinyExtensions, name: str, seen: Sightings, count: int) -> float:
    """Return the seconds from renaming a final status file into place to the watch that shows it."""
    time.sleep(REPORTS_APART_S)
    word, outcome = _WORDS[count % len(_WORDS)]
    number = int(tiny.machine.entries[name]["sequenceNumber"])
    file = tiny.path(name, f"status/{number}.status")
    new = _written(file.with_name(".new"), tiny_extensions.status(word))
    began = time.time()
    os.rename(new, file)
    return seen.first(lambda obj: _stands(obj, name) == (number, outcome)).at - began


def _written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def _stands(obj: Mapping[str, Any], name: str) -> tuple[int, str]:
    one = obj["status"]["extensions"][name]
    return one["sequenceNumber"], one["outcome"]
