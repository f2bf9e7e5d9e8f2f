"""What the tests stand on: a real control plane for each test process, and from it namespaces and houses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

import control_plane
from development import house
from development.api import Api

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control_plane.Cluster]:
    """A control plane with our kinds installed; it has no operator of its own."""
    binaries = control_plane.obtain(print)
    with control_plane.running(tmp_path_factory.mktemp("control-plane"), binaries) as running:
        house.install_crds(running)
        yield running


@pytest.fixture
def namespace(cluster: control_plane.Cluster) -> str:
    """A namespace of this test's own."""
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture
def api(cluster: control_plane.Cluster, namespace: str) -> Iterator[Api]:
    """The API server, in a namespace of this test's own."""
    made = Api(cluster.kubeconfig, namespace)
    yield made
    made.close()
