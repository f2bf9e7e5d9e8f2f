"""A control plane that a suite has for itself: what it does to the operator and the API server is nobody else's."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import control_plane
from development import house
from development.api import Api


@contextlib.contextmanager
def running() -> Iterator[tuple[control_plane.ControlPlane, Path, Api]]:
    """Give a control plane with our kinds and rights in it, a folder and the API until the block ends."""
    with tempfile.TemporaryDirectory(prefix="vmext-soak-") as name:
        folder = Path(name)
        with control_plane.running(folder / "control-plane", control_plane.obtain(lambda _: None)) as cluster:
            house.install(cluster)
            with contextlib.closing(Api(cluster.kubeconfig)) as api:
                yield cluster, folder, api
