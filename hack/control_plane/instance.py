"""One control plane that runs: its processes, ports and files."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from control_plane import certificates, cluster, process
from control_plane.binaries import Binaries
from control_plane.errors import ControlPlaneError

_READY_S = 60.0
#: What vmext relies on, and no more: the lighter, the more of them fit beside each other.
_CONTROLLERS = (
    "namespace",
    "garbagecollector",
    "serviceaccount",
    "serviceaccount-token",
    "root-ca-cert-publisher",
    "clusterrole-aggregation",
)


class ControlPlane:
    """A control plane in a folder of its own.

    Args:
        folder: for its data, keys and logs.
        binaries: its programs.
        audit: True writes every request to ``audit.log``, a JSON line each, without bodies.
        outlive: whether its processes go on when the one who started them ends.
    """

    def __init__(self, folder: Path, binaries: Binaries, *, audit: bool = False, outlive: bool = False) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.ca_file = folder / "keys" / "ca.crt"
        self.audit_log = folder / "audit.log"
        self._binaries = binaries
        self._audit = audit
        self._outlive = outlive
        self._port = 0
        self._etcd_port = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        """Return the API server's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def identities(self) -> dict[str, process.Identity]:
        """Return the processes that run, by program."""
        return {name: process.identify(one.pid) for name, one in self._processes.items()}

    def start(self) -> None:
        """Start everything and return when it is ready. Raises ControlPlaneError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keys = certificates.make(self.folder / "keys")
        self._etcd_port, peer_port, self._port = _free_ports(3)
        self._start_etcd(peer_port)
        self._write_kubeconfig()
        self.start_api_server()
        controllers = ["--controllers=" + ",".join(_CONTROLLERS), "--leader-elect=false", "--secure-port=0"]
        keys = [
            f"--service-account-private-key-file={self._keys.service_account_key}",
            f"--root-ca-file={self._keys.ca}",
        ]
        program = str(self._binaries.kube_controller_manager)
        account = f"--kubeconfig={self.kubeconfig}"
        self._spawn("kube-controller-manager", [program, account, *controllers, *keys, "--profiling=false"])
        # The account that every namespace gets is the first thing it makes.
        self._wait_ready("kube-controller-manager", f"{self.server}/api/v1/namespaces/default/serviceaccounts/default")

    def start_api_server(self) -> None:
        """Start the API server, again with the same data and address after a stop. Raises ControlPlaneError."""
        keys = self._keys
        arguments = [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--tls-cert-file={keys.server}",
            f"--tls-private-key-file={keys.server_key}",
            f"--client-ca-file={keys.ca}",
            "--anonymous-auth=false",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={keys.service_account_key}",
            f"--service-account-signing-key-file={keys.service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--profiling=false",
        ]
        if self._audit:
            policy = self.folder / "audit-policy.json"
            rules = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
            policy.write_text(json.dumps(rules | {"rules": [{"level": "Metadata"}]}))
            arguments += [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"]
        self._spawn("kube-apiserver", [str(self._binaries.kube_apiserver), *arguments])
        self._wait_ready("kube-apiserver", f"{self.server}/readyz")
        self._wait_ready("kube-apiserver", f"{self.server}/api/v1/namespaces/default")

    def stop_api_server(self) -> None:
        """Take the API server away; etcd keeps the data."""
        process.stop(self._processes.pop("kube-apiserver"), patience_s=0.5)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess has it
        """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""
        return cluster.run_kubectl(self._binaries.kubectl, self.kubeconfig, *arguments, input=input)

    def stop(self) -> None:
        """End everything."""
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            if name in self._processes:
                # They have nothing to lose that is wanted again: the API server would take its time.
                process.stop(self._processes.pop(name), patience_s=0.5)

    def _start_etcd(self, peer_port: int) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{peer_port}"
        addresses = [
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]
        # Development data: it is not worth waiting for the disk.
        data = [f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"]
        self._spawn("etcd", [str(self._binaries.etcd), *addresses, *data])
        self._wait_ready("etcd", f"{client}/readyz")

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        self._processes[name] = process.start(command, log=self.folder / f"{name}.log", outlive=self._outlive)

    def _wait_ready(self, name: str, url: str) -> None:
        context = None
        if url.startswith("https"):
            context = ssl.create_default_context(cafile=str(self._keys.ca))
            context.load_cert_chain(self._keys.admin, self._keys.admin_key)
        deadline = time.monotonic() + _READY_S
        why: object = "no answer"
        while time.monotonic() < deadline:
            if self._processes[name].poll() is not None:
                raise ControlPlaneError(f"{name} ended at its start: {self._last_words(name)}")
            try:
                with urllib.request.urlopen(url, timeout=2, context=context):
                    return
            except urllib.error.HTTPError as error:
                why = error
                error.close()
            except OSError as error:
                why = error
            time.sleep(0.05)
        raise ControlPlaneError(f"{name} is not ready after {_READY_S:.0f} s ({why}): {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-5:]
        return f"{' | '.join(lines) or 'it said nothing'} (all of it in {log})"

    def _write_kubeconfig(self) -> None:
        name = "vmext"
        server = {"server": self.server, "certificate-authority": str(self._keys.ca)}
        user = {"client-certificate": str(self._keys.admin), "client-key": str(self._keys.admin_key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": server}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(content, indent=1))


@contextlib.contextmanager
def running(folder: Path, binaries: Binaries, *, audit: bool = False) -> Iterator[ControlPlane]:
    """Run a control plane until the block ends, or until the one who runs it does, however that ends.

    Raises:
        ControlPlaneError: it does not start; the message quotes the program's last words.
    """
    instance = ControlPlane(folder, binaries, audit=audit)
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()
        shutil.rmtree(folder / "etcd", ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Return ports of loopback that are free now; they are held together, so that they differ."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            ports.append(int(one.getsockname()[1]))
    return ports
