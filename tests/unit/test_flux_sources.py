"""The ways to Flux's controllers."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane import ControlPlaneError, cache, go_build, sources, versions
from flux.sources import PROGRAMS, ways


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_module_pins_what_is_asked_for(name: str) -> None:
    go_build.check_pin("flux", f"github.com/fluxcd/{name}", versions.version("flux"))


def test_without_go_it_says_what_to_do(tmp_path: Path) -> None:
    tried = ways(versions.version("flux"), tmp_path / "entry", {"PATH": str(tmp_path)}, print)
    with pytest.raises(ControlPlaneError, match=r"(?s)the cache: .* is not there yet.*no go on PATH.*Install Go"):
        sources.first_that_works(tried, print, wanted="Flux's controllers", remedy="Install Go.")
    assert not (tmp_path / "entry").exists()


def test_what_is_cached_is_taken_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    entry = tmp_path / "entry"

    def fill(folder: Path) -> str:
        for name in PROGRAMS:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        return "here"

    sources.made(entry, PROGRAMS, fill, print)
    cached, _ = ways("1.0.0", entry, {"PATH": ""}, print)
    assert cached[1]() == "the cache (here)"
    (entry / PROGRAMS[0]).write_text("#!/bin/sh\nfalse\n")
    with pytest.raises(ControlPlaneError, match="is damaged"):
        cache.read(entry)
