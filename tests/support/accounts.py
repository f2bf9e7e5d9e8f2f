"""ServiceAccounts for whoever shall be told apart in the API server's own log."""

from __future__ import annotations

import json
from pathlib import Path

import control_plane
from control_plane import ControlPlane
from development import credentials


def kubeconfig(cluster: control_plane.Cluster, folder: Path, account: str, *, server: str | None = None) -> Path:
    """Make an account with the operator's rights; return a kubeconfig of its own for it.

    Args:
        cluster: where it is made.
        folder: where the file goes.
        account: its name, in the operator's namespace.
        server: another address of the same API server, such as a proxy's.
    """
    subject = f"--serviceaccount=vmext-system:{account}"
    cluster.kubectl("create", "serviceaccount", account, "--namespace=vmext-system")
    cluster.kubectl("create", "clusterrolebinding", account, "--clusterrole=vmext-operator", subject)
    token = cluster.kubectl("create", "token", account, "--namespace=vmext-system", "--duration=24h").strip()
    return credentials.kubeconfig(cluster, token, folder / f"{account}.kubeconfig", server=server)


def writes(cluster: ControlPlane, account: str) -> list[tuple[str, str]]:
    """Return when an account asked to write, and what, from the API server's audit log; times sort as they are."""
    assert cluster.audit_log is not None, "the control plane runs without an audit log"
    found = []
    # The last line may be half written.
    for line in cluster.audit_log.read_text().split("\n")[:-1]:
        event = json.loads(line)
        if event["user"].get("username") != f"system:serviceaccount:vmext-system:{account}":
            continue
        if event["verb"] in ("get", "list", "watch"):
            continue
        about = event["objectRef"]
        what = f"{event['verb']} {about['resource']} {about.get('name', '')} {event['responseStatus']['code']}"
        found.append((str(event["requestReceivedTimestamp"]), what))
    return sorted(found)
