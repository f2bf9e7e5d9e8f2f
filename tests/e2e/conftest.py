"""The whole house for end-to-end tests: the shared control plane, an operator, and guests with agents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

import control_plane
from development import house
from support.guests import skipping

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def home(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[house.House]:
    """An operator, and CustomScript in the catalog; machines are the tests' to add."""
    folder = tmp_path_factory.mktemp("house")
    namespace = f"{folder.parent.name}-{folder.name}".replace("_", "-").lower()
    cluster.kubectl("create", "namespace", namespace)
    with house.running(folder, print, cluster=cluster, namespace=namespace) as running:
        yield running


@pytest.fixture
def vm(home: house.House) -> str:
    """A machine of this test's own, with an agent that runs; its name."""
    name = f"vm-{next(_numbers)}"
    with skipping():
        home.add_machine(name)
    return name
