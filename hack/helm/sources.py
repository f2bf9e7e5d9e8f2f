"""The ways to helm, tried in turn: PATH, the cache, its official release, a build with Go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane import cache, download, go_build, sources, versions
from control_plane.errors import SourceError
from control_plane.progress import Report
from control_plane.sources import Way

_MODULE = "helm.sh/helm/v4"
#: Its --wait reads conditions as the GitOps tools do; earlier ones only know the kinds of Kubernetes itself.
_MAJOR = "v4."
_REMEDY = "Put helm 4 on PATH, or make one of these ways work."


def obtain(report: Report) -> Path:
    """Find, download or build helm; say what is done.

    Raises:
        ControlPlaneError: no way works; the message lists each with its reason.
    """
    wanted = versions.release("helm")
    entry = cache.root() / "helm" / f"helm-{wanted.version}-linux-{versions.architecture()}"
    found, origin = sources.first_that_works(
        ways(wanted, entry, os.environ, report), report, wanted="helm", remedy=_REMEDY
    )
    report(f"helm from {origin}")
    return found


def ways(
    wanted: versions.Release, entry: Path, environment: Mapping[str, str], report: Report
) -> Sequence[Way[tuple[Path, str]]]:
    """Return the ways in their order: each gives the program, and where it is from in words.

    Args:
        wanted: the pinned version.
        entry: the cache's folder for it.
        environment: where PATH is, and what Go is configured by.
        report: told what is done, a line at a time.
    """

    def cached() -> tuple[Path, str]:
        return entry / "helm", cache.read(entry)

    def downloaded() -> tuple[Path, str]:
        return entry / "helm", sources.made(entry, ["helm"], lambda to: _download(wanted, to, report), report)

    def built() -> tuple[Path, str]:
        fill = sources.made(entry, ["helm"], lambda to: _build(wanted, to, environment, report), report)
        return entry / "helm", fill

    return (
        ("PATH", lambda: _installed(environment)),
        ("the cache", cached),
        ("official releases", downloaded),
        ("a build with Go", built),
    )


def _installed(environment: Mapping[str, str]) -> tuple[Path, str]:
    found = shutil.which("helm", path=environment.get("PATH", os.defpath))
    if found is None:
        raise SourceError("helm not found")
    said = sources.says(Path(found), "version", "--template", "{{.Version}}")
    if not said.startswith(_MAJOR):
        raise SourceError(f"{found} is {said or 'without a version'}; the tests need helm 4")
    return Path(found).absolute(), f"{found} ({said})"


def _download(wanted: versions.Release, folder: Path, report: Report) -> str:
    platform = f"linux-{versions.architecture()}"
    archive = f"helm-v{wanted.version}-{platform}.tar.gz"
    url, packed = f"{wanted.releases}/{archive}", folder / archive
    download.fetch(url, packed, download.published(f"{url}.sha256", archive), report)
    download.unpack(packed, f"{platform}/helm", folder / "helm")
    packed.unlink()
    return f"the official release of helm {wanted.version}"


def _build(wanted: versions.Release, folder: Path, environment: Mapping[str, str], report: Report) -> str:
    go_build.check_pin("helm", _MODULE, wanted.version)
    # Charts can ask for a version of helm's: it is none where it is not set.
    flags = [f"-X {_MODULE}/internal/version.version=v{wanted.version}"]
    go_build.build("helm", f"{_MODULE}/cmd/helm", folder / "helm", flags, environment, report)
    return f"a build with Go of helm {wanted.version}"
