"""What the charts' tests stand on: a real helm, for the control plane of the test process."""

from __future__ import annotations

import pytest

import control_plane
import helm as program
from helm import Helm


@pytest.fixture(scope="session")
def helm(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm as the cluster's administrator."""
    return Helm(program.obtain(print), tmp_path_factory.mktemp("helm"), cluster.kubeconfig)
