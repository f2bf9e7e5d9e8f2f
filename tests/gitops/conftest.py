"""Flux, a house, and git repositories on loopback."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import control_plane
import flux
from development import house
from development.git_server import GitServer
from gitops.site import Site


@pytest.fixture(scope="session")
def controllers(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[flux.Flux]:
    """Flux's own controllers, on the control plane of these tests."""
    found = flux.obtain(print)
    with flux.running(tmp_path_factory.mktemp("flux") / "flux", cluster, found) as running:
        yield running


@pytest.fixture
def home(cluster: control_plane.Cluster, namespace: str, tmp_path: Path) -> Iterator[house.House]:
    """An operator, and CustomScript in the catalog; machines are the tests' to add."""
    with house.running(tmp_path / "house", print, cluster=cluster, namespace=namespace) as running:
        yield running


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line at once, past what pytest holds back."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end="", flush=True)

    return line


@pytest.fixture
def site(controllers: flux.Flux, home: house.House, tmp_path: Path, say: Callable[[str], None]) -> Iterator[Site]:
    """A repository of this test's own that Flux keeps applied."""
    with GitServer(tmp_path / home.api.namespace) as git, contextlib.ExitStack() as closing:
        made = Site(home.api.namespace, home, git, say)
        git.commit("Begin", {"README": "A site."})
        made.create()
        closing.callback(made.delete)
        yield made
        controllers.check()


class Stopwatch:
    """Says how long each step took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = time.monotonic()

    def lap(self, step: str) -> float:
        """Say how long it is since the last lap; return that."""
        now = time.monotonic()
        took, self._began = now - self._began, now
        self._say(f"{took:6.1f} s  {step}")
        return took


@pytest.fixture
def stopwatch(say: Callable[[str], None]) -> Stopwatch:
    """A stopwatch, started."""
    return Stopwatch(say)
