"""One virtual machine for all tests that can share it: an emulated boot takes from half a minute to several."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import control_plane
import virtual_machine
from development import house
from development.operator_process import ROOT
from vm.site import Site

_LOGS = ROOT / "build" / "vm"

Say = Callable[[str], None]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Print a line at once, past what pytest holds back."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n    {text}", end="", flush=True)

    return line


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[control_plane.Cluster]:
    """A control plane with our kinds installed, that a virtual machine reaches; it has no operator of its own."""
    folder, names = tmp_path_factory.mktemp("control-plane"), (virtual_machine.HOST,)
    with control_plane.available(folder, say, names=names) as running:
        if not isinstance(running, control_plane.ControlPlane):
            pytest.skip("a virtual machine reaches this computer's loopback only, and an existing cluster is elsewhere")
        house.install(running)
        yield running


@pytest.fixture(scope="session")
def shared(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Site]:
    """An enrolled machine, an operator, and CustomScript in the catalog."""
    folder = tmp_path_factory.mktemp("vm")
    cluster.kubectl("create", "namespace", "vm")
    try:
        image = virtual_machine.obtain(say)
        made = virtual_machine.running("debian-1", image, folder=folder / "machines", logs=_LOGS, report=say)
        with (
            house.running(folder, say, cluster=cluster, namespace="vm", package_host=virtual_machine.HOST) as home,
            made as machine,
        ):
            site = Site(home, machine)
            say("installing the agent in the machine and enrolling it")
            site.install_agent()
            site.enroll()
            yield site
    except virtual_machine.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The shared machine, with nothing declared for it."""
    shared.recover()
    yield shared
    shared.clear()
