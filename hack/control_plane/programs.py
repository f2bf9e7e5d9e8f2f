"""The command lines of a control plane's programs. They run in its folder and name files there relative to it."""

from __future__ import annotations

from pathlib import Path

from control_plane.binaries import Binaries
from control_plane.certificates import Certificates

# A socket in a folder of ours: over a port of loopback, every user of the machine could read and write all that is in
# etcd. Named relative to the folder, since the path of a socket must not be longer than 107 bytes.
ETCD_SOCKET = "etcd.sock"
_PEER_SOCKET = "etcd-peer.sock"
AUDIT_POLICY = "audit-policy.json"
AUDIT_LOG = "audit.log"
CONTROLLERS_KUBECONFIG = "controller-manager.kubeconfig"

#: What vmext relies on, and no more: the lighter, the more of them fit beside each other.
_CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)


def etcd(binaries: Binaries, *, large: bool = False) -> list[str]:
    """Return etcd's command; `large` is for more than its usual 2 GiB of objects and their history."""
    return [
        str(binaries.etcd),
        "--data-dir=etcd",
        f"--listen-client-urls=unix://{ETCD_SOCKET}",
        f"--advertise-client-urls=unix://{ETCD_SOCKET}",
        f"--listen-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-advertise-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-cluster=default=unix://{_PEER_SOCKET}",
        # Development data: it is not worth waiting for the disk.
        "--unsafe-no-fsync",
        "--log-level=warn",
        *([f"--quota-backend-bytes={8 << 30}"] if large else []),
    ]


def api_server(binaries: Binaries, keys: Certificates, port: int, *, audit: bool, large: bool = False) -> list[str]:
    """Return kube-apiserver's command; `large` has it forget the objects' history sooner, so that etcd stays small."""
    return [
        str(binaries.kube_apiserver),
        f"--etcd-servers=unix://{ETCD_SOCKET}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing",
        # Else it looks for an address by the default route, and does not start on a machine without a network.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={keys.server.certificate}",
        f"--tls-private-key-file={keys.server.key}",
        f"--client-ca-file={keys.ca}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        f"--service-account-key-file={keys.service_account_key}",
        f"--service-account-signing-key-file={keys.service_account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--profiling=false",
        *(["--etcd-compaction-interval=1m"] if large else []),
        *([f"--audit-policy-file={AUDIT_POLICY}", f"--audit-log-path={AUDIT_LOG}"] if audit else []),
    ]


def controller_manager(binaries: Binaries, keys: Certificates) -> list[str]:
    """Return kube-controller-manager's command."""
    return [
        str(binaries.kube_controller_manager),
        f"--kubeconfig={CONTROLLERS_KUBECONFIG}",
        # As clusters in earnest have it: each controller is a ServiceAccount with the rights of its own.
        "--use-service-account-credentials",
        f"--controllers={','.join(_CONTROLLERS)}",
        f"--service-account-private-key-file={keys.service_account_key}",
        f"--root-ca-file={keys.ca}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]


def audit_policy() -> dict[str, object]:
    """Return the policy of an audit log that says of each finished request who did what, without bodies."""
    rules = [{"level": "Metadata"}]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}


def kubeconfig(server: str, ca: Path, certificate: Path, key: Path) -> dict[str, object]:
    """Return a kubeconfig with one context."""
    name = "vmext"
    cluster = {"server": server, "certificate-authority": str(ca)}
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
