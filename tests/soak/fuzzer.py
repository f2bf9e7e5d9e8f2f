"""One process that feeds one target: ``python -m soak.fuzzer``. Its folder tells who started it what came of it.

In the folder: ``progress`` (how many inputs were tried, and the one under way: it outlives this process),
``found.json`` and the inputs that it names, ``engine``. With ``--input`` it tries that one file and says what it found.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

from soak.guard import Guard, limit_memory
from soak.target import Target
from soak.trial import Finding, Trial

ATHERIS, MUTATOR, STRUCTURE = "atheris", "mutator", "structure"
_HEADER = struct.Struct("<QQ")
_PROGRESS_BYTES = 1 << 20
_INSTRUMENTED = ["vmext_agent", "vmext_operator"]


class Session:
    """Tries inputs, counts them, and keeps the shortest one of each kind of finding."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self._trial = trial
        self._folder = folder
        self._found: dict[str, tuple[Finding, int]] = {}
        self._count = 0
        with (folder / "progress").open("wb+") as file:
            file.truncate(_PROGRESS_BYTES)
            self._progress = mmap.mmap(file.fileno(), _PROGRESS_BYTES)

    def try_one(self, data: bytes) -> None:
        """Try an input."""
        data = bytes(data[: _PROGRESS_BYTES - _HEADER.size])
        self._progress[_HEADER.size : _HEADER.size + len(data)] = data
        _HEADER.pack_into(self._progress, 0, self._count, len(data))
        finding = self._trial.run(data)
        self._count += 1
        _HEADER.pack_into(self._progress, 0, self._count, len(data))
        if finding is not None:
            self._take(finding, data)

    def _take(self, finding: Finding, data: bytes) -> None:
        known = self._found.get(finding.kind)
        if known is not None and known[1] <= len(data):
            return
        self._found[finding.kind] = (finding, len(data))
        names = {kind: f"{number}.input" for number, kind in enumerate(self._found)}
        (self._folder / names[finding.kind]).write_bytes(data)
        document = [{"what": one.kind, "input": names[kind]} for kind, (one, _) in self._found.items()]
        (self._folder / "found.json").write_text(json.dumps(document))


def progress(folder: Path) -> tuple[int, bytes]:
    """Return how many inputs a session has tried, and the last one that it began with."""
    content = (folder / "progress").read_bytes()
    count, length = _HEADER.unpack_from(content)
    return count, content[_HEADER.size : _HEADER.size + length]


def main(arguments: list[str]) -> int:
    """Feed a target; return the exit code: 1 where ``--input`` finds something."""
    options = _parser().parse_args(arguments)
    atheris = _atheris() if options.engine == ATHERIS else None
    instrumented: AbstractContextManager[object] = (
        nullcontext() if atheris is None else atheris.instrument_imports(include=_INSTRUMENTED)
    )
    with instrumented:
        target: Target = importlib.import_module(options.module).MAKERS[options.target]()
    if options.input is not None:
        limit_memory()
        with folder_for_a_while() as folder:
            finding = Trial(target, Guard(str(folder)), str(folder / "trial")).run(options.input.read_bytes())
        print("nothing" if finding is None else f"{finding.kind}\n{finding.words}")
        return 0 if finding is None else 1
    scratch = options.folder / "scratch"
    scratch.mkdir()
    session = Session(Trial(target, Guard(str(scratch)), str(scratch / "trial")), options.folder)
    stands_in = options.engine == ATHERIS and atheris is None
    (options.folder / "engine").write_text(MUTATOR if stands_in else options.engine)
    limit_memory()
    if atheris is not None:
        _feed_by_atheris(atheris, target, session, options.seed, options.count, options.folder)
    elif options.engine == STRUCTURE:
        importlib.import_module("soak.structure").feed(target, options.seed, options.count, session.try_one)
    else:
        _feed_by_mutator(target, session, options.seed, options.count)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m soak.fuzzer", description="Feed one parser of foreign bytes.")
    parser.add_argument("target", help="name of the target")
    parser.add_argument("--module", default="soak.targets", help="where MAKERS has the target")
    parser.add_argument("--engine", choices=(ATHERIS, MUTATOR, STRUCTURE), default=MUTATOR)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to leave what came of it")
    parser.add_argument("--input", type=Path, help="try this file alone, and say what it finds")
    return parser


def _atheris() -> ModuleType | None:
    """Return atheris, None where there is none for this Python or platform: the mutator stands in then."""
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


@contextmanager
def folder_for_a_while() -> Iterator[Path]:
    """Make a folder, in memory where that can be: what is written there is thrown away a hundred thousand times."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="vmext-fuzz-", dir=in_memory))
    try:
        yield folder
    finally:
        # Folders can be deeper in it than Python's own way of removing them gets.
        subprocess.run(["rm", "-rf", "--", folder], check=False)


def _feed_by_mutator(target: Target, session: Session, seed: int, count: int) -> None:
    mutation, draw = importlib.import_module("soak.mutation"), random.Random(seed)
    for number in range(count):
        chosen = target.samples[number % len(target.samples)]
        first = number < len(target.samples)
        session.try_one(
            chosen if first else mutation.mutated(chosen, target.samples, target.words, draw, target.max_bytes)
        )


def _feed_by_atheris(
    atheris: ModuleType, target: Target, session: Session, seed: int, count: int, folder: Path
) -> None:
    mutation = importlib.import_module("soak.mutation")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, sample in enumerate(target.samples):
        (corpus / f"{number:03}").write_bytes(sample)
    words = [word for word in target.words if word.isascii() and word.isprintable()]
    quoted = [word.replace("\\", "\\\\").replace('"', '\\"') for word in words]
    # libFuzzer takes an empty file for a missing one.
    (folder / "words").write_text("".join(f'"{word}"\n' for word in quoted if word) or '"PK"\n')

    def mutate(data: bytes, limit: int, number: int) -> bytes:
        draw = random.Random(number)
        if draw.random() < 0.5:
            changed: bytes = atheris.Mutate(data, len(data) + 64)
            return changed[:limit]
        made: bytes = mutation.mutated(bytes(data), target.samples, target.words, draw, limit)
        return made

    options = [
        f"-runs={count}",
        # libFuzzer takes 0 for a seed of its own choice.
        f"-seed={seed % (1 << 31) + 1}",
        f"-max_len={target.max_bytes}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder}/died-",
        # The guard has the clock and bounds the memory.
        "-timeout=0",
        "-rss_limit_mb=0",
        "-len_control=0",
        "-verbosity=0",
    ]
    atheris.Setup(["fuzzer", *options, str(corpus)], session.try_one, custom_mutator=mutate)
    # It does not return: libFuzzer ends the process when it is done.
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
