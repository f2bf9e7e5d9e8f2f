"""Every snippet of the how-tos is run, in a namespace and on machines of the page's own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import control_plane
from development.api import Api
from development.house import House, agent_service
from support import snippets
from support.guests import skipping

PAGES = sorted((snippets.ROOT / "docs" / "howto").glob("*.md"))
_SNIPPET_S = 120
_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Desk:
    """Where a user sits: a folder with the examples in it, and kubectl, its plugin and ssh on PATH."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of bash."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            input="",
            capture_output=True,
            text=True,
            check=False,
            timeout=_SNIPPET_S,
        )


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def desk(home: House, own_cluster: control_plane.ControlPlane, page: Path, tmp_path: Path) -> Iterator[Desk]:
    """A user's place for one page."""
    name = f"{page.stem}-{os.getpid()}-{next(_numbers)}"
    own_cluster.kubectl("create", "namespace", name)
    api = Api(own_cluster.kubeconfig, name)
    own = dataclasses.replace(home, api=api, guests={}, folder=tmp_path)
    with skipping():
        for machine in snippets.machines(page, new=False):
            own.add_guest(machine)
        for machine in snippets.machines(page, new=True):
            # What it is told to be comes with the page's own enrolment; until then its agent finds no configuration.
            own.add_guest(machine).start_service(agent_service())
    closing = contextlib.ExitStack()
    for machine in snippets.machines(page, new=False):
        # The page itself declares it: then it is enrolled.
        closing.enter_context(_joining(own, machine))
    tools = tmp_path / "bin"
    tools.mkdir()
    settings = yaml.safe_load(own_cluster.kubeconfig.read_text())
    for context in settings["contexts"]:
        context["context"]["namespace"] = name
    (tmp_path / "kubeconfig").write_text(json.dumps(settings))
    (tools / "kubectl").symlink_to(own_cluster.binaries.kubectl)
    source = shlex.quote(str(snippets.ROOT / "operator"))
    program(tools / "kubectl-vmext", f'PYTHONPATH={source} exec {shlex.quote(sys.executable)} -m kubectl_vmext "$@"')
    cases = "\n".join(
        f'root@{machine}) exec {shlex.join(guest.command(["sh", "-c"]))} "$*" ;;'
        for machine, guest in own.guests.items()
    )
    program(tools / "ssh", f'to=$1; shift\ncase $to in\n{cases}\n*) echo "no machine $to" >&2; exit 255 ;;\nesac')
    desk_folder = tmp_path / "desk"
    desk_folder.mkdir()
    (desk_folder / "examples").symlink_to(snippets.ROOT / "examples")
    environment = {
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "NAMESPACE": name,
        "MIRROR": home.url,
        "MIRROR_FOLDER": str(home.served),
    }
    with closing:
        yield Desk(desk_folder, environment)
    api.close()


@contextlib.contextmanager
def _joining(house: House, machine: str) -> Iterator[None]:
    """Have a guest join its cluster as soon as its VirtualMachine is declared."""
    api = Api(house.cluster.kubeconfig, house.api.namespace)
    own = dataclasses.replace(house, api=api)
    with contextlib.closing(api), ThreadPoolExecutor() as pool:
        joined = pool.submit(own.join, machine, timeout_s=_SNIPPET_S)
        yield
        joined.result()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_snippets_of_a_page_do_what_they_say(page: Path, desk: Desk) -> None:
    for block in snippets.of(page):
        assert block.problem is None, block.problem
        if block.why_not:
            continue
        if block.file:
            (desk.folder / block.file).write_text(block.text)
        elif block.language == "console":
            for command, wanted in snippets.commands(block.text):
                done = desk.run(command)
                said = snippets.differs(wanted, done.stdout + done.stderr)
                assert said is None, f"{block.where}: {command}\n{said}"
        else:
            done = desk.run(block.text)
            failed = done.returncode != 0
            assert failed == (block.marker == "fails"), f"{block.where}: {done.stdout}{done.stderr}"
