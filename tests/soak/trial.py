"""One input fed to one parser, and what is said of it where that was not all right."""

from __future__ import annotations

import os
import subprocess
import traceback
from typing import NamedTuple

from soak.guard import ForbiddenError, Guard, TooSlowError
from soak.target import Target

_OURS = ("/vmext_agent/", "/vmext_operator/", "/soak/")


class Finding(NamedTuple):
    """What went wrong; ``kind`` is the same for inputs that found the same."""

    kind: str
    words: str


class Trial:
    """Feeds a target, in a folder of its own below the guard's."""

    def __init__(self, target: Target, guard: Guard, folder: str) -> None:
        self._target = target
        self._guard = guard
        self._folder = folder
        os.mkdir(folder)

    def run(self, data: bytes) -> Finding | None:
        """Feed one input; return what went wrong, None for nothing."""
        try:
            with self._guard.on():
                self._target.feed(data, self._folder)
        except self._target.expected:
            return None
        except (Exception, TooSlowError) as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
            self._clear()
            return _finding(error)
        return None

    def _clear(self) -> None:
        """Take away what it left: the next input shall not stumble over it."""
        if os.path.isdir(self._folder) and not os.listdir(self._folder):
            return
        subprocess.run(["rm", "-rf", "--", self._folder], check=False)
        os.makedirs(self._folder, exist_ok=True)


def _finding(error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(part in frame.filename for part in _OURS)]
    # Where time or the stack ran out is chance; what it was busy with is not.
    is_chance = isinstance(error, (TooSlowError, RecursionError, MemoryError))
    place = [frame for frame in own if "/soak/" not in frame.filename] or own
    chosen = (place[0] if is_chance else place[-1]) if place else None
    where = "" if chosen is None else f" in {chosen.filename.rpartition('/')[2]} {chosen.name}"
    if isinstance(error, (AssertionError, ForbiddenError)):
        what = f"{type(error).__name__}: {str(error).partition(':')[0]:.80}"
        return Finding(f"{what}{where}", f"{error!s:.300}{where}")
    return Finding(f"{type(error).__name__}{where}", f"{error!r:.300}{where}")
