"""Where obtained programs are kept: an entry is complete or it is absent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from control_plane.binaries import is_program
from control_plane.errors import SourceError
from control_plane.progress import Report

_MANIFEST = "complete.json"


def root() -> Path:
    """Return the cache's folder: VMEXT_CACHE, else vmext in the user's cache folder."""
    if os.environ.get("VMEXT_CACHE"):
        return Path(os.environ["VMEXT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmext"


def read(entry: Path) -> str:
    """Check an entry; return in words where its programs are from.

    Raises:
        SourceError: it is absent, or a program is not as it was when it was put there.
    """
    if not entry.exists():
        raise SourceError(f"{entry} is not there yet")
    try:
        manifest = json.loads((entry / _MANIFEST).read_text())
        origin, expected = str(manifest["origin"]), dict(manifest["sha256"])
        found = _sums(entry, tuple(expected))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{entry} is damaged: {error!r}") from error
    for name, got in found.items():
        if got != expected.get(name):
            raise SourceError(
                f"{entry} is damaged: the SHA-256 of {name} is {got}, it was {expected.get(name)} when it was put there"
            )
    return f"the cache ({origin})"


@contextlib.contextmanager
def filling(entry: Path, report: Report) -> Iterator[Path | None]:
    """Give an empty folder to fill; `complete` makes it the entry, else it vanishes at the end of the block.

    Two who fill the same entry do so one after the other: the second one is given None when the first has done it.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with _locked(entry.parent / f".{entry.name}.lock", report):
        with contextlib.suppress(SourceError):
            read(entry)
            yield None
            return
        # With the lock held, what lies around is what somebody who was killed has left.
        for left in entry.parent.glob(f".{entry.name}.draft-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(
            prefix=f".{entry.name}.draft-", dir=entry.parent, ignore_cleanup_errors=True
        ) as scratch:
            draft = Path(scratch) / "entry"
            draft.mkdir()
            yield draft


def complete(
    entry: Path,
    draft: Path,
    origin: str,
    programs: Sequence[str],
    *,
    is_good: Callable[[Path], bool] = is_program,
) -> None:
    """Make a filled folder the entry, in place of a damaged one.

    Raises:
        SourceError: a program is missing, or another file where `is_good` says what it has to be.
    """
    missing = [name for name in programs if not is_good(draft / name)]
    if missing:
        raise SourceError(f"{origin} gave no {', '.join(missing)}")
    (draft / _MANIFEST).write_text(json.dumps({"origin": origin, "sha256": _sums(draft, programs)}, indent=1))
    if entry.exists():
        entry.rename(draft.parent / "damaged")
    draft.rename(entry)


def _sums(folder: Path, programs: Sequence[str]) -> dict[str, str]:
    def digest(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor() as threads:
        return dict(zip(programs, threads.map(digest, programs), strict=True))


@contextlib.contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    # The kernel lets go of the lock when its holder ends, however it ends.
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            report(f"waiting for process {lock.read().strip() or 'unknown'}, which is obtaining the same programs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
