"""The folders of former runs: the newest stay, and those that something still uses; an update takes them over."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from .environment import Environment, replace_file
from .errors import HandlerError
from .journal import Journal

# With that of the run that begins: what the last ones did can be compared, and no more is paid for it.
KEPT = 3


def remove_old(env: Environment, number: int, journal: Journal) -> None:
    """Remove all download folders but the newest. One that can't be removed stops no script."""
    try:
        _remove_old(env, number, journal)
    except OSError as error:
        journal.write("old-downloads-kept", reason=error.strerror or "")


def _remove_old(env: Environment, number: int, journal: Journal) -> None:
    # Folders of higher numbers are of an earlier installation that was not uninstalled.
    others = sorted((one for one in _numbers(env) if one != number), key=lambda one: (one < number, one), reverse=True)
    old = others[KEPT - 1 :]
    if not old:
        return
    used = _used(env.download_folder(number).parent)
    for one in old:
        if one in used:
            journal.write("old-download-kept", number=one, reason="something uses it")
            continue
        try:
            shutil.rmtree(env.download_folder(one))
            journal.write("old-download-removed", number=one)
        except OSError as error:
            journal.write("old-download-kept", number=one, reason=error.strerror or "")


def remove_all(env: Environment) -> None:
    """Remove the data folder with all in it, but nothing that was mounted into it. Raises HandlerError, OSError."""
    if not env.data_folder.exists():
        return
    downloads = os.path.realpath(env.data_folder / "download")
    for _, mount_point in _mounts("self"):
        if mount_point.startswith(f"{downloads}/"):
            raise HandlerError(
                f"{mount_point} is mounted inside of what is to be removed; unmount it and remove {downloads}"
            )
    shutil.rmtree(env.data_folder)


def hand_over(env: Environment, version: str) -> None:
    """Note that an update to a version has begun: the uninstall of the one before then leaves it the folders."""
    if env.data_folder.is_dir():
        replace_file(_heir_file(env), version.encode())


def is_handed_over(env: Environment) -> bool:
    """Tell whether another version, which is there, has taken over the folders."""
    name, _, own = env.config_folder.parent.name.rpartition("-")
    try:
        heir = _heir_file(env).read_text(errors="replace")
    except OSError:
        return False
    return heir != own and "/" not in heir and (env.lib_folder / f"{name}-{heir}").is_dir()


def end_hand_over(env: Environment) -> None:
    """Note that no update is under way: an agent enables the new version at its end, or the old one when it failed."""
    # Asked first: a disk that is read-only refuses to remove what is not there, too.
    if _heir_file(env).exists():
        _heir_file(env).unlink()


def _heir_file(env: Environment) -> Path:
    return env.data_folder / "updating-to"


def _numbers(env: Environment) -> Iterator[int]:
    for path in env.data_folder.glob("download/*"):
        if re.fullmatch("0|[1-9][0-9]{0,18}", path.name) and path.is_dir() and not path.is_symlink():
            yield int(path.name)


def _used(downloads: Path) -> set[int]:
    """Return the numbers whose folders a process uses: as its folder, by a file, or by its command or environment.

    The environment has the PWD of the shell that started it, also after a daemon has gone to / and closed its files. A
    folder also is in use where something is mounted, in it or from it; removing that would remove what is mounted.
    """
    names = {os.fsencode(downloads), os.fsencode(os.path.realpath(downloads))}
    pattern = re.compile(b"(?:%s)/([0-9]+)(?![0-9])" % b"|".join(map(re.escape, sorted(names))))
    used: set[int] = set()
    namespaces: set[str] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        for text in _texts(process):
            used.update(map(int, pattern.findall(text)))
        namespace = _link(process / "ns" / "mnt")
        if namespace not in namespaces:
            namespaces.add(namespace)
            used.update(_mounted(downloads, process.name))
    return used


def _texts(process: Path) -> Iterator[bytes]:
    links = [process / name for name in ("cwd", "root", "exe")]
    try:
        links += (process / "fd").iterdir()
    except OSError:
        pass
    yield os.fsencode("\n".join(map(_link, links)))
    yield from (_content(process / name) for name in ("cmdline", "environ", "maps"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # It has ended.
        return b""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _mounted(downloads: Path, pid: str) -> Iterator[int]:
    # What is mounted from a folder, as containers do, is named by its path in its file system: the end of the whole.
    tail = "/".join(["", *Path(os.path.realpath(downloads)).parts[-2:], ""])
    for paths in _mounts(pid):
        for path in paths:
            found = re.search(f"{re.escape(tail)}([0-9]{{1,19}})(?:/|$)", path)
            if found:
                yield int(found[1])


def _mounts(pid: str) -> Iterable[tuple[str, str]]:
    """Return, of all mounts that a process sees, which folder of a file system is mounted, and where."""
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return []
    fields = (line.split(" ") for line in text.splitlines())
    return [(_plain(one[3]), _plain(one[4])) for one in fields]


def _plain(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
