"""The ways to the programs of a control plane, tried in turn: the first that works is taken."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from control_plane import binaries, cache, download, go_build, versions
from control_plane.binaries import Binaries
from control_plane.errors import ControlPlaneError, SourceError
from control_plane.progress import Report

#: A way's name, and the way: it returns the programs or raises SourceError.
Way = tuple[str, Callable[[], Binaries]]


def obtain(report: Report) -> Binaries:
    """Find, download or build the programs; say what is done.

    Raises:
        ControlPlaneError: no way works; the message lists each with its reason.
    """
    wanted = versions.read()
    return first_that_works(ways(wanted, cache.root() / "control-plane" / wanted.key, report), report)


def ways(wanted: versions.Versions, entry: Path, report: Report) -> Sequence[Way]:
    """Return the ways in their order."""
    return (
        ("programs in KUBEBUILDER_ASSETS or on PATH", lambda: _installed(report)),
        ("the cache", lambda: _cached(entry)),
        ("official releases", lambda: _made(entry, lambda to: download.fetch_all(wanted, to, report), report)),
        ("a build with Go", lambda: _made(entry, lambda to: go_build.build_all(wanted, to, report), report)),
    )


def first_that_works(tried: Sequence[Way], report: Report) -> Binaries:
    """Return what the first way gives that works.

    Raises:
        ControlPlaneError: none does; the message lists each with its reason.
    """
    failures = []
    for name, way in tried:
        try:
            found = way()
        except SourceError as error:
            failures.append(f"  - {name}: {error}")
            continue
        report(f"control plane from {found.origin}")
        return found
    listed = "\n".join(failures)
    raise ControlPlaneError(
        f"no way to a control plane works here:\n{listed}\n"
        "Set VMEXT_KUBECONFIG to use a cluster that runs already, or KUBEBUILDER_ASSETS to a folder with the programs."
    )


def _installed(report: Report) -> Binaries:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder:
        found = {name: Path(folder) / name for name in binaries.PROGRAMS if os.access(Path(folder) / name, os.X_OK)}
    else:
        found = {name: Path(path) for name in binaries.PROGRAMS if (path := shutil.which(name))}
    missing = [name for name in binaries.PROGRAMS if name not in found]
    if missing:
        raise SourceError(f"no {', '.join(missing)}" + (f" in {folder}" if folder else " on PATH"))
    for name in binaries.SERVERS:
        report(f"{name}: {_version(found[name])}")
    origin = "KUBEBUILDER_ASSETS" if folder else "PATH"
    etcd, api_server, controller_manager, kubectl = (found[name] for name in binaries.PROGRAMS)
    return Binaries(etcd, api_server, controller_manager, kubectl, origin)


def _version(program: Path) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise SourceError(f"{program.name} does not run: {error}") from error
    return done.stdout.splitlines()[0] if done.stdout else "of unknown version"


def _cached(entry: Path) -> Binaries:
    found = cache.find(entry)
    if found is None:
        raise SourceError("it does not hold this version" if not entry.exists() else "its entry is damaged")
    return found


def _made(entry: Path, fill: Callable[[Path], str], report: Report) -> Binaries:
    """Fill the cache's entry, unless somebody else just did."""
    try:
        with cache.filling(entry, report) as draft:
            if cache.find(entry) is None:
                cache.complete(draft, fill(draft))
    except OSError as error:
        raise SourceError(f"the cache can't be written: {error}") from error
    return _cached(entry)
