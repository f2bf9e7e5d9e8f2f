"""The ways to the programs of a control plane, tried in turn: the first that works is taken."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from control_plane import binaries, cache, download, go_build, versions
from control_plane.binaries import Binaries
from control_plane.errors import ControlPlaneError, SourceError
from control_plane.progress import Report

_T = TypeVar("_T")
#: A way's name, and the way: it returns what is wanted or raises SourceError.
Way = tuple[str, Callable[[], _T]]
#: What is wanted, and what else can be done where no way leads there.
_WANTED = "a control plane"
_REMEDY = (
    "Set VMEXT_KUBECONFIG to use a cluster that runs already, or KUBEBUILDER_ASSETS to a folder with the programs."
)


def obtain(report: Report) -> Binaries:
    """Find, download or build the programs; say what is done.

    Raises:
        ControlPlaneError: no way works; the message lists each with its reason.
    """
    wanted = versions.read()
    entry = cache.root() / "control-plane" / wanted.key
    found = first_that_works(ways(wanted, entry, os.environ, report), report)
    report(f"control plane from {found.origin}")
    return found


def ways(
    wanted: versions.Versions, entry: Path, environment: Mapping[str, str], report: Report
) -> Sequence[Way[Binaries]]:
    """Return the ways in their order.

    Args:
        wanted: the pinned versions.
        entry: the cache's folder for them.
        environment: where programs are looked for: KUBEBUILDER_ASSETS, then PATH.
        report: told what is done, a line at a time.
    """
    return (
        ("KUBEBUILDER_ASSETS and PATH", lambda: _installed(wanted, environment, report)),
        ("the cache", lambda: binaries.in_folder(entry, cache.read(entry))),
        ("official releases", lambda: _made(entry, lambda to: download.fetch_all(wanted, to, report), report)),
        (
            "a build with Go",
            lambda: _made(entry, lambda to: go_build.build_all(wanted, to, environment, report), report),
        ),
    )


def first_that_works(tried: Sequence[Way[_T]], report: Report, *, wanted: str = _WANTED, remedy: str = _REMEDY) -> _T:
    """Return what the first way gives that works.

    Args:
        tried: the ways in their order.
        report: told why one does not work.
        wanted: what they lead to, and
        remedy: what else can be done, both for the message where none does.

    Raises:
        ControlPlaneError: none does; the message lists each with its reason.
    """
    failures = []
    for name, way in tried:
        try:
            found = way()
        except SourceError as error:
            report(f"not from {name}: {error}")
            failures.append(f"  - {name}: {error}")
            continue
        return found
    listed = "\n".join(failures)
    raise ControlPlaneError(f"no way to {wanted} works here:\n{listed}\n{remedy}")


def _look_up(name: str, environment: Mapping[str, str]) -> Path | None:
    folders = [environment.get("KUBEBUILDER_ASSETS", ""), environment.get("PATH", os.defpath)]
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    return None if found is None else Path(found).absolute()


def _installed(wanted: versions.Versions, environment: Mapping[str, str], report: Report) -> Binaries:
    # Each on its own: what setup-envtest puts into KUBEBUILDER_ASSETS lacks the controller manager.
    found = {name: path for name in binaries.PROGRAMS if (path := _look_up(name, environment))}
    missing = [name for name in binaries.PROGRAMS if name not in found]
    if missing:
        raise SourceError(f"{', '.join(missing)} not found")
    said = {name: says(found[name], "--version") for name in binaries.SERVERS}
    says(found["kubectl"], "version", "--client", "-o", "json")
    versions.check_found(wanted, said["kube-apiserver"], said["kube-controller-manager"])
    for name in binaries.SERVERS:
        report(f"{found[name]}: {said[name]}")
    folders = sorted({str(path.parent) for path in found.values()})
    etcd, kube_apiserver, kube_controller_manager, kubectl = (found[name] for name in binaries.PROGRAMS)
    return Binaries(etcd, kube_apiserver, kube_controller_manager, kubectl, " and ".join(folders))


def says(program: Path, *arguments: str) -> str:
    """Return the first line that a program prints. Raises SourceError where it does not run."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise SourceError(f"{program} does not run: {error}") from error
    return next(iter(done.stdout.splitlines()), "")


def made(entry: Path, programs: Sequence[str], fill: Callable[[Path], str], report: Report) -> str:
    """Fill the cache's entry, unless somebody else just did; return in words where from. Raises SourceError."""
    try:
        with cache.filling(entry, report) as draft:
            if draft is not None:
                cache.complete(entry, draft, fill(draft), programs)
    except OSError as error:
        raise SourceError(f"{entry} can't be written: {error}; VMEXT_CACHE may name another place") from error
    return cache.read(entry)


def _made(entry: Path, fill: Callable[[Path], str], report: Report) -> Binaries:
    return binaries.in_folder(entry, made(entry, binaries.PROGRAMS, fill, report))
