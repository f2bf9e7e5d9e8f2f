"""The control plane that is wanted: somebody else's where one is named, else one of our own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from control_plane import cluster, instance, sources
from control_plane.progress import Report

VARIABLE = "VMEXT_KUBECONFIG"


@contextlib.contextmanager
def available(folder: Path, report: Report, *, names: Sequence[str] = ()) -> Iterator[cluster.Cluster]:
    """Give a control plane until the block ends: the one that VMEXT_KUBECONFIG names, else one that is run for it.

    Args:
        folder: for data and logs of our own.
        report: told, a line at a time, what is done.
        names: further names and addresses that one of our own is reached by.

    Raises:
        ControlPlaneError: there is no way to one here, or it does not start or answer.
    """
    named = os.environ.get(VARIABLE)
    if named:
        report(f"using the cluster of {VARIABLE}")
        yield cluster.existing(Path(named))
        return
    binaries = sources.obtain(report)
    report("starting etcd, kube-apiserver and kube-controller-manager")
    with instance.running(folder, binaries, names=names) as own:
        yield own
