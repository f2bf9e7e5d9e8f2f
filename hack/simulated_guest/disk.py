"""The guest's disk: what holds all that the guest writes, and the root folder put together from it and the host's.

It is a tmpfs, because it vanishes with the last process that has it mounted, whatever kills that; because an overlay's
upper layer can neither lie below its own lower one nor on another overlay; and because its size can be bounded. Where
power is to be cut it is an ext4 in a file instead (`block_device`).
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simulated_guest import block_device, furniture, kernel
from simulated_guest.errors import SetupError

_IMAGE = "disk.img"
CHECKOUT = Path(__file__).resolve().parents[2]

OWN_AT_EVERY_BOOT = tuple(map(Path, ("/dev", "/proc", "/run", "/sys", "/tmp")))
"""Folders of which a guest never sees the host's content as part of its disk."""

_NEEDED = {CHECKOUT, Path(sys.base_prefix)}
_HOST_FOLDERS_OF_SMALL = ("bin", "lib", "lib32", "lib64", "libx32", "opt", "sbin")
_EMPTY_FOLDERS_OF_SMALL = ("home", "media", "mnt", "srv", "var/cache", "var/lib", "var/log", "var/spool")


@dataclass(frozen=True)
class Written:
    """A folder in which a guest's writes collect.

    Attributes:
        mounted_at: where the guest has it.
        folder: where it is in the supervisor's mount namespace.
    """

    mounted_at: Path
    folder: Path


@dataclass(frozen=True)
class Disk:
    """A disk that is ready to be booted from.

    Attributes:
        root: the guest's root folder, a mount point.
        written: what holds the guest's own files.
    """

    root: Path
    written: tuple[Written, ...]


def make(folder: Path, name: str, *, full: bool, disk_bytes: int | None, ext4: bool = False) -> Disk:
    """Make the disk of a guest in the calling process's mount namespace.

    Args:
        folder: the guest's, with the empty folders `disk` and `root` in it.
        name: of the guest.
        full: an overlay over the host's root; otherwise the smaller form.
        disk_bytes: how much the guest can write until its disk is full; None for as much as a tmpfs takes.
        ext4: an ext4 in a file of the guest's folder, whose power can be cut; only in full, and of a size of its own.

    Raises:
        SetupError: the kernel refused a step.
    """
    storage = folder / "disk"
    if ext4:
        block_device.make(folder / _IMAGE, storage)
        disk = _full(storage, folder / "root", name)
        os.sync()
        return disk
    kernel.mount("guest-disk", storage, "tmpfs", options="mode=755")
    disk = _full(storage, folder / "root", name) if full else _small(storage, folder / "root", name)
    # A mark in time: what the small form's disk holds from here on was written by the guest.
    (storage / "ready").touch()
    if disk_bytes is not None:
        usage = os.statvfs(storage)
        kernel.resize(storage, (usage.f_blocks - usage.f_bfree) * usage.f_frsize + disk_bytes)
    return disk


def cut_power(folder: Path) -> None:
    """Lose all that was not synced to the disk, from this moment on. Raises SetupError."""
    block_device.shut_down(folder / "disk")


def power_up(folder: Path, name: str) -> Disk:
    """Make the disk ready to be booted from again, as a power cut has left it. Raises SetupError."""
    root, storage = folder / "root", folder / "disk"
    kernel.unmount(root)
    kernel.unmount(storage)
    block_device.mount_again(folder / _IMAGE, storage)
    return _full(storage, root, name, fresh=False)


def seen_only_on_top() -> list[Path]:
    """Return the host's folders that a guest needs although they lie where it has folders of its own."""
    return sorted(path for path in _NEEDED if any(path.is_relative_to(own) for own in OWN_AT_EVERY_BOOT))


def _full(storage: Path, root: Path, name: str, *, fresh: bool = True) -> Disk:
    items = [*furniture.identity(name), *furniture.stand_ins(), *furniture.masks()]
    points = _mount_points(storage)
    written = []
    for number, point in enumerate(points):
        layers = storage / str(number)
        upper, below = layers / "upper", layers / "furniture"
        if fresh:
            for layer in (upper, below, layers / "work"):
                layer.mkdir(parents=True)
                _copy_mode(point, layer)
            _furnish(below, point, [item for item in items if _innermost(points, item.path) == point])
        target = root / point.relative_to("/")
        options = (
            f"lowerdir={_escape(below)}:{_escape(point)},upperdir={_escape(upper)},workdir={_escape(layers / 'work')}"
        )
        try:
            kernel.mount("guest", target, "overlay", options=options + ",redirect_dir=on")
        except SetupError:
            if point == Path("/"):
                raise
            kernel.bind(point, target, read_only=True)  # a file system that can't be below an overlay
        else:
            written.append(Written(mounted_at=point, folder=upper))
    return Disk(root=root, written=tuple(written))


def _small(storage: Path, root: Path, name: str) -> Disk:
    """Put a root together, the host's part read-only: in a user namespace the kernel refuses an overlay over /."""
    top = storage / "root"
    for folder in ("etc", "usr", *(path.name for path in OWN_AT_EVERY_BOOT), *_EMPTY_FOLDERS_OF_SMALL):
        (top / folder).mkdir(parents=True)
    (top / "root").mkdir(0o700)
    (top / "var/run").symlink_to("/run")
    (top / "var/tmp").mkdir()
    (top / "var/tmp").chmod(0o1777)
    # What this user may not read (shadow, private keys) stays out: cp says so by its status, which tells no more.
    subprocess.run(
        ["cp", "-RP", "--preserve=mode,timestamps", "/etc/.", str(top / "etc")],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    for item in furniture.identity(name):
        _place(top / item.path.relative_to("/"), item)
    for mask in furniture.masks():
        if mask.path.is_relative_to("/etc"):
            subprocess.run(["rm", "-rf", str(top / mask.path.relative_to("/"))], check=True)
    kernel.bind(top, root)
    _usr_read_only(storage, root / "usr")
    for folder in _HOST_FOLDERS_OF_SMALL:
        _show(Path("/") / folder, root)
    for needed in sorted(_NEEDED - set(seen_only_on_top())):
        if not needed.is_relative_to("/usr"):
            _show(needed, root)
    return Disk(root=root, written=(Written(mounted_at=Path("/"), folder=top),))


def _usr_read_only(storage: Path, target: Path) -> None:
    stand_ins = [item for item in furniture.stand_ins() if item.path.is_relative_to("/usr")]
    below = storage / "furniture"
    below.mkdir()
    _furnish(below, Path("/usr"), stand_ins)
    try:
        kernel.mount("guest-usr", target, "overlay", options=f"lowerdir={_escape(below)}:/usr")
    except SetupError:
        # Something is mounted below /usr, or the kernel has no overlays for ordinary users: do without the stand-ins.
        kernel.bind(Path("/usr"), target, recursive=True, read_only=True)


def _show(path: Path, root: Path) -> None:
    """Show a folder of the host's (or the link that stands for it) in the small form, read-only."""
    target = root / path.relative_to("/")
    if path.is_symlink():
        target.symlink_to(path.readlink())
    elif path.is_dir() and not target.exists():
        target.mkdir(parents=True)
        kernel.bind(path, target, recursive=True, read_only=True)


def _furnish(layer: Path, point: Path, items: Iterable[furniture.Item]) -> None:
    """Put items into an overlay's layer; the folders on the way look as the host's, which they cover."""
    for item in items:
        steps = item.path.relative_to(point)
        for parent in reversed(steps.parents[:-1]):
            if not (layer / parent).is_dir():
                (layer / parent).mkdir()
                _copy_mode(point / parent, layer / parent)
        _place(layer / steps, item)


def _place(target: Path, item: furniture.Item) -> None:
    target.unlink(missing_ok=True)
    if item.content is None:
        os.mknod(target, stat.S_IFCHR)  # an overlay's mark for "not here, whatever is below"
    else:
        target.write_bytes(item.content)
        target.chmod(item.mode)


def _copy_mode(source: Path, target: Path) -> None:
    status = source.stat()
    try:
        os.chown(target, status.st_uid, status.st_gid)
    except OSError:
        pass  # an owner that this user namespace has no number for
    target.chmod(stat.S_IMODE(status.st_mode))


def _mount_points(storage: Path) -> list[Path]:
    """Return where the host's file systems that a guest sees are mounted, outer ones first."""
    points = {Path("/")}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        own = any(point.is_relative_to(folder) for folder in (storage, *OWN_AT_EVERY_BOOT))
        waits_to_mount = rest.startswith("autofs ")  # and would, when it is looked at
        if not own and not waits_to_mount and point.is_dir():
            points.add(point)
    return sorted(points)


def _innermost(points: Iterable[Path], path: Path) -> Path:
    return max((point for point in points if path.is_relative_to(point)), key=lambda point: len(point.parts))


def _escape(path: Path) -> str:
    """Write a path as an overlay's option takes it."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
