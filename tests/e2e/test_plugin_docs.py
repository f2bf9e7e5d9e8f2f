"""docs/kubectl-vmext.md: every command in it is typed into a shell, in order, on a whole house."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import control_plane
import simulated_guest
from development.house import House, agent_service
from development.operator_process import ROOT
from kubectl_vmext.__main__ import group
from support.guests import skipping
from support.plugin import Plugin

TEXT = (ROOT / "docs" / "kubectl-vmext.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(home: House, own_cluster: control_plane.ControlPlane, tmp_path: Path) -> dict[str, str]:
    """The environment of one who has kubectl, the plugin, a kubeconfig and the files that the page speaks of."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(own_cluster.binaries.kubectl)
    plugin = programs / "kubectl-vmext"
    plugin.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kubectl_vmext "$@"\n')
    plugin.chmod(0o755)
    kubeconfig = yaml.safe_load(home.cluster.kubeconfig.read_text())
    for context in kubeconfig["contexts"]:
        context["context"]["namespace"] = home.api.namespace
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    for source in (*(ROOT / "examples" / "arm").glob("*.json"), *home.served.glob("*.zip")):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "PYTHONPATH": str(ROOT / "operator"),
        "HOME": str(tmp_path),
    }


@pytest.fixture
def machine(home: House) -> simulated_guest.Guest:
    """web-1, enrolled."""
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "web-1"}})
    with skipping():
        guest = home.add_guest("web-1")
    printed = Plugin(home.cluster.kubeconfig, home.api.namespace).good("enroll", "web-1").out
    guest.run(["sh", "-c", printed])
    guest.start_service(agent_service())
    home.api.wait("VirtualMachine", "web-1", lambda vm: "expiresAt" in ((vm or {})["status"].get("credential") or {}))
    return guest


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("machine")
def test_every_command_of_the_page_works_as_it_stands(shell: dict[str, str], tmp_path: Path) -> None:
    assert len(BLOCKS) > 8
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=shell,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (block, done.stdout[-2000:], done.stderr)
        assert "Traceback" not in done.stderr
        assert "correct-horse" not in done.stdout + done.stderr, block
    assert (tmp_path / "secrets.yaml").stat().st_mode & 0o777 == 0o600


def test_the_page_speaks_of_every_command() -> None:
    for name in group.commands:
        assert re.search(rf"\b{name}\b", TEXT) or name in ("__complete", "get-instance-view"), name
