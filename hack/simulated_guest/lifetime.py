"""The start and the end of guests, and where they are kept.

A guest's folder is locked by its supervisor: one that is not locked is what a killed supervisor left behind, and the
next start sweeps it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from simulated_guest.errors import GuestError, GuestUnavailableError, SetupError
from simulated_guest.guest import Guest, Service, environment
from simulated_guest.supervisor import Orders

_LOCK = "guest.lock"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STOPS_WITHIN_S = 30.0
_SUPERVISOR = (
    "import sys; sys.path.insert(0, {path!r}); from simulated_guest import supervisor; sys.exit(supervisor.main())"
)


@contextlib.contextmanager
def running(
    name: str,
    *,
    folder: Path | None = None,
    services: Sequence[Service] = (),
    disk_bytes: int | None = None,
    small: bool | None = None,
    ext4: bool = False,
) -> Iterator[Guest]:
    """Start a guest that ends with the block, and with this process however that ends.

    Args:
        name: its host name, a DNS label.
        folder: where guests are kept, each in a folder of its name; by default a temporary one of this user's.
        services: started at every boot.
        disk_bytes: how much it can write until its disk is full; None for half of the machine's memory.
        small: True for the smaller form, False to refuse it; None for the full one where it is possible.
        ext4: its disk is an ext4 in a file, whose power can be cut (`Guest.lose_power`); only in full.

    Raises:
        GuestUnavailableError: this machine can't make one; says what was tried and why it failed.
        GuestError: one of that name runs there already, or a service can't be started.
    """
    guest, supervisor = _start(name, _kept_in(folder), disk_bytes=disk_bytes, small=small, detached=False, ext4=ext4)
    try:
        for service in services:
            guest.start_service(service)
        yield guest
    finally:
        _end(supervisor)


def start(name: str, *, folder: Path | None = None, disk_bytes: int | None = None, small: bool | None = None) -> Guest:
    """Start a guest that lives until it is stopped; raises as `running` does."""
    guest, supervisor = _start(name, _kept_in(folder), disk_bytes=disk_bytes, small=small, detached=True)
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    supervisor.returncode = (
        0  # it outlives this process by design, so nothing is to be said of its not being waited for
    )
    return guest


def attach(name: str, *, folder: Path | None = None) -> Guest:
    """Return a guest that runs already.

    Raises:
        GuestError: none of that name does.
    """
    return Guest(name, _kept_in(folder) / name)


def stop(name: str, *, folder: Path | None = None) -> None:
    """End a guest and wait until nothing is left of it.

    Raises:
        GuestError: none of that name runs, or it does not end.
    """
    guest = attach(name, folder=folder)
    guest.stop()
    deadline = time.monotonic() + _STOPS_WITHIN_S
    while guest.folder.exists():
        if time.monotonic() > deadline:
            raise GuestError(f"guest {name} did not end within {_STOPS_WITHIN_S:.0f} s; its folder is {guest.folder}")
        time.sleep(0.01)


def names(*, folder: Path | None = None) -> list[str]:
    """Return the names of the guests that run."""
    kept_in = _kept_in(folder)
    return sorted(lock.parent.name for lock in kept_in.glob(f"*/{_LOCK}") if not _is_stale(lock.parent))


def _kept_in(folder: Path | None) -> Path:
    kept_in = folder or Path(tempfile.gettempdir()) / f"vmext-guests-{os.getuid()}"
    kept_in.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kept_in.stat().st_uid != os.getuid():
        raise GuestError(f"guests can't be kept in {kept_in}: it is another user's")
    return kept_in.resolve()


def _start(
    name: str,
    kept_in: Path,
    *,
    disk_bytes: int | None,
    small: bool | None,
    detached: bool,
    ext4: bool = False,
) -> tuple[Guest, subprocess.Popen[bytes]]:
    if not _NAME.fullmatch(name):
        raise GuestError(f"{name!r} can't name a guest: a host name has up to 63 of a-z, 0-9 and - (not at the ends)")
    forms = {"as root, in full": True, "as an ordinary user, smaller": False}
    reasons = []
    for form, full in forms.items():
        if small is full or (ext4 and not full):
            continue
        if full and os.geteuid() != 0:
            reasons.append(f"{form}: this process is not root's")
            continue
        orders = Orders(name, str(kept_in / name), full=full, disk_bytes=disk_bytes, detached=detached, ext4=ext4)
        try:
            return _launch(orders)
        except SetupError as error:
            reasons.append(f"{form}: {error}")
    raise GuestUnavailableError("this machine can't make a simulated guest: " + "; ".join(reasons))


def _launch(orders: Orders) -> tuple[Guest, subprocess.Popen[bytes]]:
    folder = Path(orders.folder)
    lock = _make_folder(folder)
    program = _SUPERVISOR.format(path=str(Path(__file__).resolve().parents[1]))
    try:
        with (folder / "logs" / "supervisor.log").open("ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-S", "-s", "-B", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
                cwd="/",
                pass_fds=[lock],
                start_new_session=True,  # an interrupt at the terminal reaches the one who started it, who then ends it
            )
    finally:
        os.close(lock)
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    with supervisor.stdout:
        with contextlib.suppress(BrokenPipeError):  # then it has ended already, and its log tells why
            supervisor.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
            supervisor.stdin.flush()
        answer = json.loads(supervisor.stdout.readline() or b"{}")
    if "ready" in answer:
        try:
            return Guest(orders.name, folder), supervisor
        except GuestError:
            _end(supervisor)
            raise
    _end(supervisor)
    words = (folder / "logs" / "supervisor.log").read_text(errors="replace").strip()
    shutil.rmtree(folder)
    raise SetupError(answer.get("error") or f"its supervisor ended with {supervisor.returncode}: {words}")


def _make_folder(folder: Path) -> int:
    """Make a guest's folder and return its lock, held; what killed supervisors left beside it is removed."""
    neighbourhood = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(neighbourhood, fcntl.LOCK_EX)
        for leftover in folder.parent.glob(f"*/{_LOCK}"):
            if _is_stale(leftover.parent):
                shutil.rmtree(leftover.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise GuestError(f"a guest {folder.name} runs already in {folder.parent}; stop it first") from None
        for part in ("disk", "root", "logs"):
            (folder / part).mkdir()
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock
    finally:
        os.close(neighbourhood)


def _is_stale(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False  # its supervisor is removing it at this moment
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    """Let go of a supervisor's lifeline and wait until it has cleaned up."""
    assert supervisor.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        supervisor.stdin.close()
    try:
        supervisor.wait(_STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
