"""The plugin as people get it: a wheel in an environment of its own, and one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from development.operator_process import ROOT
from plugin import __main__ as build
from support.certificates import certificate


def ran(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing of this environment but its PATH."""
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | environment
    done = subprocess.run(list(map(str, command)), env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def sealed(tmp_path: Path) -> list[str]:
    """Arguments that seal a secret for a certificate: what needs the most of what is shipped, and no cluster."""
    (tmp_path / "crt").write_text(certificate("uid"))
    (tmp_path / "s.json").write_text(json.dumps({"password": "p"}))
    return ["encrypt", "--certificate", f"{tmp_path}/crt", "--from-file", f"{tmp_path}/s.json"]


@pytest.mark.timeout(600)
def test_the_wheel_runs_without_what_the_operator_runs_by(tmp_path: Path, sealed: list[str]) -> None:
    wheel = build.build_wheel(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    quiet = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
    ran(*quiet, "--require-hashes", "-r", ROOT / "requirements" / "plugin.txt")
    # Nothing is fetched beyond what is locked.
    ran(*quiet, "--no-index", wheel)

    installed = {one["name"].lower() for one in json.loads(ran(python, "-m", "pip", "list", "--format", "json").stdout)}
    assert "kubectl-vmext" in installed
    assert not installed & {"kopf", "vmext-operator"}
    program = tmp_path / "venv" / "bin" / "kubectl-vmext"
    assert ran(program, "--version").stdout == "kubectl vmext 0.1.0\n"
    assert "encrypted:" in ran(program, *sealed).stdout
    hook = ran(tmp_path / "venv" / "bin" / "kubectl_complete-vmext", "image", "l")
    assert hook.stdout.splitlines()[-1] == ":4"
    assert hook.stdout.startswith("list\t")


@pytest.mark.timeout(600)
def test_the_one_file_unpacks_itself_once_and_runs(tmp_path: Path, sealed: list[str]) -> None:
    file = build.build_file(build.build_wheel(tmp_path), tmp_path)
    cache = tmp_path / "cache"
    # Its first line names python3: this one, since it was built by it.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for _ in range(2):
        assert ran(file, "--version", PATH=path, XDG_CACHE_HOME=str(cache)).stdout == "kubectl vmext 0.1.0\n"
    assert len(list((cache / "kubectl-vmext").iterdir())) == 1
    assert "encrypted:" in ran(file, *sealed, PATH=path, XDG_CACHE_HOME=str(cache)).stdout

    (cache / "kubectl-vmext").chmod(0o777)
    refused = subprocess.run(
        [file, "--version"],
        env={"PATH": path, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "can be written by others" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_wheel_asks_for_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "operator" / "plugin" / "pyproject.toml").read_text())["project"]
    asked = sorted(one.split(">")[0] for one in project["dependencies"])
    lines = (ROOT / "requirements" / "plugin.in").read_text().splitlines()
    assert asked == sorted(line for line in lines if line and not line.startswith("#"))
