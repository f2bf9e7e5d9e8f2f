"""A machine that changes its key (``vmext-agent rotate-key``): how far it is, and what becomes of the key before it.

The new certificate is proposed, signed by the key in use, until the goal says that the machine is known by it: then the
two change places. What is encrypted to the one before can still be read: its key stays where handlers look for it for
as long as a settings file names it, or the goal does.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmext_agent.layout import Layout
    from vmext_agent.records import Disk

#: A key is kept for so long at least: what a command has read may be decrypted a little later.
KEPT_AT_LEAST_S = 3600.0
_LIMIT = 4 << 20
_SETTINGS = re.compile(r"(?P<whose>(?:[a-z0-9.-]{1,80}\.)?)(?P<number>[0-9]{1,18})\.settings")


def outlived(layout: Layout, disk: Disk, now: float) -> Iterator[str]:
    """Yield the files of earlier keys that nothing names any more, and settings files that keep one for nobody."""
    for earlier in identity.load_earlier(layout):
        name = earlier.thumbprint
        if now < os.stat(earlier.file).st_mtime + KEPT_AT_LEAST_S:
            continue
        old = [path for path in _superseded(layout, disk) if _names(path, name)]
        yield from old
        if not any(path not in old for path in named_by(layout, name)):
            # Its own file comes last: what is cut off before that is found again.
            yield from (*identity.placed(layout, name), earlier.file)


def named_by(layout: Layout, thumbprint: str) -> list[str]:
    """Return the files that name a certificate: settings of every version, also set aside, as kept, and the goal."""
    paths = [layout.goal]
    for folder in _folders(layout.handlers):
        paths += (path for path in _files(f"{folder}/config") if path.endswith(".settings"))
    paths += _files(layout.settings)
    return [path for path in paths if _names(path, thumbprint)]


def _superseded(layout: Layout, disk: Disk) -> Iterator[str]:
    """Yield the settings files of numbers before the one that an extension is enabled with: no handler runs by them."""
    for record in disk.records.values():
        enabled = record.enabled
        folder = disk.handlers.get(record.handler, {}).get(enabled.version) if enabled is not None else None
        if enabled is None or folder is None:
            continue
        whose = f"{record.extension}." if folder.multi_config else ""
        for path in _files(f"{layout.handler(record.handler, enabled.version)}/config"):
            found = _SETTINGS.fullmatch(os.path.basename(path))
            if found is not None and found["whose"] == whose and int(found["number"]) < enabled.sequence_number:
                yield path


def _names(path: str, thumbprint: str) -> bool:
    """Tell whether a file names a certificate; what can't be read may."""
    try:
        return thumbprint.encode() in files.read(path, _LIMIT).upper()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _folders(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _files(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def describe(layout: Layout) -> list[str]:
    """Return how the machine stands with its keys, in lines for people. Raises IdentityError, OSError."""
    own, upcoming = identity.load(layout), identity.load_next(layout)
    lines = [f"certificate:  {own.thumbprint if own is not None else 'none'}"]
    if upcoming is not None:
        lines.append(f"rotation:     {upcoming.thumbprint} is proposed; the cluster has not taken it yet")
    for earlier in identity.load_earlier(layout):
        named = len(named_by(layout, earlier.thumbprint))
        why = f"files that name it: {named}" if named else "nothing names it any more, it goes within two hours"
        lines.append(f"earlier key:  {earlier.thumbprint}; {why}")
    return lines
