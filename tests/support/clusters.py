"""Clusters in tests: what is not ours to break is left alone, and the test skipped with the reason."""

from __future__ import annotations

import pytest

import control_plane


def own(cluster: control_plane.Cluster) -> control_plane.ControlPlane:
    """Return the cluster as the control plane of these tests, whose API server may be taken away; skip without it."""
    if not isinstance(cluster, control_plane.ControlPlane):
        pytest.skip("the API server of an existing cluster is not stopped")
    return cluster
