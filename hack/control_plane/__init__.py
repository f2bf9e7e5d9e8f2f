"""A real control plane for development: etcd, kube-apiserver and kube-controller-manager on loopback.

``available`` gives a control plane until a block ends. Of its parts ``obtain`` finds or builds the programs,
``running`` runs them, and ``existing`` stands for a cluster that runs already. ``python3 -m control_plane`` is the same
for people.
"""

from control_plane.binaries import Binaries
from control_plane.choice import available
from control_plane.cluster import Cluster, ExistingCluster, existing
from control_plane.errors import ControlPlaneError
from control_plane.instance import ControlPlane, running
from control_plane.sources import obtain

__all__ = [
    "Binaries",
    "Cluster",
    "ControlPlane",
    "ControlPlaneError",
    "ExistingCluster",
    "available",
    "existing",
    "obtain",
    "running",
]
