"""The figures of the soak in ``build/soak.json``: after every chunk, an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from soak.suite import Failure

#: Of each suite so many failures are kept: one bug can show in every chunk.
_MOST_FAILURES = 50


class Entry(NamedTuple):
    """How far a suite is.

    Attributes:
        wanted: runs.
        done: runs.
        seed: the base seed: a chunk's is this plus the runs before it.
        seconds: that all chunks took.
        failures: what was found.
        code: runs by the code that they were done on (``code_id``).
        note: what the suite says of itself.
    """

    wanted: int
    done: int
    seed: int
    seconds: float
    failures: tuple[Failure, ...]
    code: Mapping[str, int]
    note: str

    @property
    def is_complete(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.done >= self.wanted

    def is_stale(self, code: str) -> bool:
        """Tell whether some runs were done on other code than this."""
        return any(known != code for known in self.code)

    def after(self, count: int, seconds: float, found: Iterable[Failure], code: str, note: str) -> Entry:
        """Return the entry after a chunk. A failure that was seen before is not kept twice."""
        known = {failure.what for failure in self.failures}
        new = [failure for failure in found if failure.what not in known]
        return self._replace(
            done=self.done + count,
            seconds=self.seconds + seconds,
            failures=(*self.failures, *new)[:_MOST_FAILURES],
            code={**self.code, code: self.code.get(code, 0) + count},
            note=note,
        )


class Ledger:
    """The file of figures. What can't be read in it counts as never done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)

    def entry(self, name: str, *, wanted: int, seed: int | None, fallback_seed: int, fresh: bool) -> Entry:
        """Return where to go on with a suite: from its beginning where it is to be fresh or has another seed."""
        known = self._entries.get(name)
        if known is None or fresh or (seed is not None and seed != known.seed):
            return Entry(wanted, 0, fallback_seed if seed is None else seed, 0.0, (), {}, "")
        return known._replace(wanted=wanted)

    def put(self, name: str, entry: Entry, code: str) -> None:
        """Write down how far a suite is. Raises OSError."""
        self._entries[name] = entry
        document = {key: _rendered(one, code) for key, one in sorted(self._entries.items())}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        temporary.write_text(json.dumps(document, indent=1) + "\n")
        temporary.replace(self._path)


def code_id(folders: Iterable[Path]) -> str:
    """Return what tells the code in some folders from any other: twelve digits of a hash over its Python files."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _rendered(entry: Entry, code: str) -> dict[str, Any]:
    return {
        **entry._asdict(),
        "seconds": round(entry.seconds, 1),
        "failures": [failure._asdict() for failure in entry.failures],
        "code_changed_since": entry.is_stale(code),
    }


def _read(path: Path) -> dict[str, Entry]:
    try:
        document = json.loads(path.read_text())
        return {name: _entry(one) for name, one in document.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _entry(document: Mapping[str, Any]) -> Entry:
    return Entry(
        wanted=int(document["wanted"]),
        done=int(document["done"]),
        seed=int(document["seed"]),
        seconds=float(document["seconds"]),
        failures=tuple(Failure(**one) for one in document["failures"]),
        code=dict(document["code"]),
        note=str(document["note"]),
    )
