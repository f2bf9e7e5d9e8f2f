"""What the tests stand on: a real control plane for each test process, and from it namespaces and houses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import control_plane
from development import house
from development.api import Api
from support import clusters

_numbers = itertools.count(1)
ALLOWED_SKIPS = Path(__file__).parent / "skips.txt"
#: Run by commands of their own. make test-gitops: Flux takes ten minutes to build where it is not cached; make test-vm:
#: emulated machines take minutes to boot, and their disk needs packages and two minutes to be made.
APART = tuple(Path(__file__).parent / name for name in ("gitops", "vm"))


# How long an example takes is the machine's affair, and other people's on it: no unit test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let CI insist that no test skips but those that are listed."""
    text = f"fail where one skips that {ALLOWED_SKIPS.name} does not list"
    parser.addoption("--only-listed-skips", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Watch for skips, once: not in the processes that xdist starts."""
    if config.getoption("--only-listed-skips") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Skips(), "skips")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what runs apart, unless it is named."""
    named = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    if collection_path in APART and not any(path.resolve().is_relative_to(collection_path) for path in named):
        return True
    return None


class _Skips:
    """Turns a run red that skipped what is not listed."""

    def __init__(self) -> None:
        lines = ALLOWED_SKIPS.read_text().splitlines()
        self._allowed = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
        self._unlisted: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a skip."""
        if report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in self._allowed:
            self._unlisted.append(f"{report.nodeid}: {report.longrepr}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where there was one that is not listed."""
        if self._unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name them."""
        for line in self._unlisted:
            terminalreporter.write_line(f"skipped, and not listed in {ALLOWED_SKIPS.name}: {line}", red=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control_plane.Cluster]:
    """A control plane with our kinds installed; it has no operator of its own."""
    with control_plane.available(tmp_path_factory.mktemp("control-plane"), print) as running:
        house.install(running)
        yield running


@pytest.fixture
def own_cluster(cluster: control_plane.Cluster) -> control_plane.ControlPlane:
    """The control plane, for tests that take its API server away."""
    return clusters.own(cluster)


@pytest.fixture
def namespace(cluster: control_plane.Cluster) -> str:
    """A namespace of this test's own."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture
def api(cluster: control_plane.Cluster, namespace: str) -> Iterator[Api]:
    """The API server, in a namespace of this test's own."""
    made = Api(cluster.kubeconfig, namespace)
    yield made
    made.close()
