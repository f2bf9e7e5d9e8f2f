"""The image's steps, each run in fresh folders: what comes of them runs alone, and is the same every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import packages
from development.operator_process import ROOT

STEPS = ROOT / "hack" / "image"


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a python3 that has pip and nothing else, as the image's first stage has it."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def collected(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(python, tmp_path_factory.mktemp("image"))


def collect(python: Path, image: Path) -> Path:
    """Run the steps of the first stage; return what it hands on."""
    # How pip finds packages is this machine's to say.
    path = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or key == "HOME"}
    path["PATH"] = f"{python}:/usr/bin:/bin"
    run(STEPS / "collect-dependencies", ROOT, image / "opt/vmext", **path)
    run(STEPS / "collect-operator", ROOT, image / "opt/vmext", **path)
    run(STEPS / "collect-packages", ROOT, image / "packages", image / "opt/vmext", **path)
    return image


def sums(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_operator_runs_from_what_was_collected_and_nothing_else(collected: Path) -> None:
    # -S: without the site-packages of the Python that runs this.
    said = run(sys.executable, "-S", "-m", "vmext_operator", "--help", PYTHONPATH=str(collected / "opt/vmext"))
    assert "usage: vmext-operator" in said


def test_no_tools_of_building_are_left_and_anybody_may_read_it(collected: Path) -> None:
    names = {path.name for path in (collected / "opt/vmext").iterdir()}
    assert not names & {"pip", "setuptools", "wheel", "bin", "kubectl_vmext"}
    assert all(path.stat().st_mode & 0o004 for path in collected.rglob("*"))


def test_it_holds_the_packages_that_make_packages_builds(collected: Path, tmp_path: Path) -> None:
    sources = sorted(path.parent for path in (ROOT / "extensions").glob("*/extension.yaml"))
    built = packages.build_all(sources, tmp_path, "http://localhost")
    assert sums(collected / "packages") == {package.zip_path.name: package.sha256 for package in built}


def test_a_second_time_gives_the_same_bytes(python: Path, collected: Path, tmp_path: Path) -> None:
    assert sums(collect(python, tmp_path / "again")) == sums(collected)


def test_the_dockerfile_lints_and_calls_every_step() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no build for this architecture")
    run(linter, ROOT / "Dockerfile")
    text = (ROOT / "Dockerfile").read_text()
    assert {step.name for step in STEPS.iterdir() if f"/{step.name} " in text} == {
        step.name for step in STEPS.iterdir()
    }
