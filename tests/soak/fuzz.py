"""The suites that feed every parser of foreign bytes: raw bytes, led by coverage, and structure near the schema."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from soak import fuzzer
from soak.suite import Failure, Suite

ROOT = Path(__file__).resolve().parents[2]
#: Inputs that found something stay here.
FOUND = ROOT / "build" / "soak"
#: A process that takes longer than this for its inputs hangs: the slowest target does some hundred a second.
_BASE_S, _INPUT_S = 60.0, 0.05

#: Every target of ``targets.MAKERS``, by name: importing that module would import what is to be instrumented.
TARGETS = (
    "goal_state", "last_goal", "manifest", "status", "heartbeat", "policy", "record", "move", "state_files", "command",
    "installation", "archive", "guest_report",
)  # fmt: skip
RAW, STRUCTURED = 100_000, 10_000


def suites() -> list[Suite]:
    """Return a suite for each target and way of feeding it."""
    raw = [Fuzz(f"fuzz.{name}", name, fuzzer.ATHERIS, RAW, 25_000) for name in TARGETS]
    return [*raw, *(Fuzz(f"structure.{name}", name, fuzzer.STRUCTURE, STRUCTURED, 2_500) for name in TARGETS)]


class Fuzz:
    """Feeds one target in a process of its own.

    Args:
        name: of the suite.
        target: its name.
        engine: one of ``fuzzer``'s.
        full: inputs that make it complete.
        chunk: inputs of one process.
        module: that has the target.
        found: where inputs that found something stay.
    """

    def __init__(
        self,
        name: str,
        target: str,
        engine: str,
        full: int,
        chunk: int,
        *,
        module: str = "soak.targets",
        found: Path = FOUND,
    ) -> None:
        self.name = name
        self.full = full
        self.chunk = chunk
        self.note = ""
        self._target = target
        self._engine = engine
        self._module = module
        self._found = found

    def run(self, seed: int, count: int) -> list[Failure]:
        """Feed so many inputs; return what was found, with the inputs kept."""
        with fuzzer.folder_for_a_while() as folder:
            options = ["--engine", self._engine, "--seed", str(seed), "--count", str(count), "--folder", str(folder)]
            ended = self._start(options, _BASE_S + count * _INPUT_S)
            if not (folder / "progress").exists():
                again = f"{self._command()} --engine {self._engine} --folder $(mktemp -d)"
                return [Failure(seed, f"the fuzzer did not start: {ended}", again)]
            self.note = (folder / "engine").read_text() if (folder / "engine").exists() else ""
            failures = self._failures(folder, seed)
            tried, last = fuzzer.progress(folder)
            if tried < count:
                # What ended it could not say so itself: the input under way is the one.
                failures.append(
                    self._failure(seed, f"the process ended after {tried} of {count} inputs: {ended}", last)
                )
        return failures

    def _start(self, options: list[str], timeout_s: float) -> str:
        """Run the process; return how it ended and its last words."""
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "soak.fuzzer", self._target, "--module", self._module, *options]
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        ) as process:
            try:
                said, _ = process.communicate(timeout=timeout_s)
                how = f"exit code {process.returncode}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
                how = f"killed after {timeout_s:.0f} s"
        return f"{how}: {said.decode('utf-8', 'backslashreplace').strip()[-500:]}"

    def _failures(self, folder: Path, seed: int) -> list[Failure]:
        try:
            found = json.loads((folder / "found.json").read_text())
        except FileNotFoundError:
            return []
        return [self._failure(seed, one["what"], (folder / one["input"]).read_bytes()) for one in found]

    def _failure(self, seed: int, what: str, data: bytes) -> Failure:
        kept = self._found / self._target / hashlib.sha256(data).hexdigest()[:16]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
        shown = kept.relative_to(ROOT) if kept.is_relative_to(ROOT) else kept
        return Failure(seed, what, f"{self._command()} --input {shown}")

    def _command(self) -> str:
        module = "" if self._module == "soak.targets" else f" --module {self._module}"
        path = "PYTHONPATH=operator:agent:hack:tests"
        return f"{path} .venv/bin/python -m soak.fuzzer {self._target}{module}"
