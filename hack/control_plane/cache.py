"""Where obtained programs are kept: an entry is complete or it is absent."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from control_plane import binaries
from control_plane.binaries import Binaries
from control_plane.errors import ControlPlaneError
from control_plane.progress import Report

_COMPLETE = "complete.json"


def root() -> Path:
    """Return the cache's folder: VMEXT_CACHE, else vmext in the user's cache folder."""
    if os.environ.get("VMEXT_CACHE"):
        return Path(os.environ["VMEXT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmext"


def find(folder: Path) -> Binaries | None:
    """Return the programs of an entry, or None where it is absent or not as it was when it was put there."""
    try:
        facts = json.loads((folder / _COMPLETE).read_text())
        sizes = {name: (folder / name).stat().st_size for name in binaries.PROGRAMS}
        if facts["sizes"] != sizes:
            return None
        return binaries.in_folder(folder, f"the cache ({facts['origin']})")
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def filling(folder: Path, report: Report) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes the entry when the block ends well, and vanishes otherwise.

    Two who fill the same entry do so one after the other: the second one finds what the first one made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{folder.name}.lock", report):
        _sweep(folder)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield draft
            if not find(folder):
                shutil.rmtree(folder, ignore_errors=True)
                draft.chmod(0o755)
                draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def complete(draft: Path, origin: str) -> None:
    """Mark a filled folder as complete. Raises ControlPlaneError where a program is missing."""
    if binaries.in_folder(draft, origin) is None:
        raise ControlPlaneError(f"{origin} gave not all of {', '.join(binaries.PROGRAMS)}")
    sizes = {name: (draft / name).stat().st_size for name in binaries.PROGRAMS}
    (draft / _COMPLETE).write_text(json.dumps({"origin": origin, "sizes": sizes}))


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
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _sweep(folder: Path) -> None:
    """Remove what somebody who was killed has left; it is called with the lock held."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
