"""The ways to Flux's controllers: the cache, else a build with Go. Their releases hold images and no programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane import cache, go_build, sources, versions
from control_plane.progress import Report
from control_plane.sources import Way

_MODULE = "flux"
PROGRAMS = ("source-controller", "kustomize-controller")
_KINDS = "kinds"
_REMEDY = "Install Go 1.26 or later, and let it reach a Go module proxy."


@dataclass(frozen=True, slots=True)
class Controllers:
    """Where the programs are, and the folder of their CustomResourceDefinitions."""

    source: Path
    kustomize: Path
    kinds: Path


def obtain(report: Report) -> Controllers:
    """Find or build the controllers; say what is done.

    Raises:
        ControlPlaneError: no way works; the message lists each with its reason.
    """
    wanted = versions.version("flux")
    entry = cache.root() / "flux" / f"flux-controllers-{wanted}-linux-{versions.architecture()}"
    origin = sources.first_that_works(
        ways(wanted, entry, os.environ, report), report, wanted="Flux's controllers", remedy=_REMEDY
    )
    report(f"Flux's controllers from {origin}")
    return Controllers(entry / PROGRAMS[0], entry / PROGRAMS[1], entry / _KINDS)


def ways(wanted: str, entry: Path, environment: Mapping[str, str], report: Report) -> Sequence[Way[str]]:
    """Return the ways in their order; each fills the cache's entry and gives in words where from.

    Args:
        wanted: the pinned version.
        entry: the cache's folder for it.
        environment: what Go is configured by.
        report: told what is done, a line at a time.
    """
    return (
        ("the cache", lambda: cache.read(entry)),
        (
            "a build with Go",
            lambda: sources.made(entry, PROGRAMS, lambda to: _build(wanted, to, environment, report), report),
        ),
    )


def _build(wanted: str, folder: Path, environment: Mapping[str, str], report: Report) -> str:
    (folder / _KINDS).mkdir()
    for name in PROGRAMS:
        path = f"github.com/fluxcd/{name}"
        go_build.check_pin(_MODULE, path, wanted)
        go_build.build(_MODULE, path, folder / name, [], environment, report)
        for file in (go_build.module_folder(_MODULE, path, environment) / "config" / "crd" / "bases").glob("*.yaml"):
            # The module cache is read-only, and so would be a copy with its mode.
            shutil.copyfile(file, folder / _KINDS / file.name)
    return f"a build with Go of Flux's controllers {wanted}"
