"""The whole house: control plane, catalog, operator, and machines with an agent in each."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import control_plane
import packages
import simulated_guest
from development import credentials
from development.api import Api
from development.operator_process import ROOT, Operator
from development.package_server import PackageServer
from vmext_operator.api import goal_state

Report = Callable[[str], None]

CONFIG = "/etc/vmext/agent.json"
CA_FILE = "/etc/vmext/ca.crt"
TOKEN_FILE = "/etc/vmext/token"
AGENT = "agent"
#: What the chart is made of, as it is with the names that it has by default.
RIGHTS = ROOT / "charts" / "vmext" / "files"
#: The one that stands last in the last of those files.
LAST_POLICY = "vmext-operator-belongings"
OPERATOR_USER = f"system:serviceaccount:{credentials.NAMESPACE}:{credentials.OPERATOR}"
_ENFORCED_S = 30.0


@dataclass
class House:
    """What runs, and how to add to it."""

    folder: Path
    cluster: control_plane.Cluster
    api: Api
    operator: Operator
    served: Path
    url: str
    _closing: contextlib.ExitStack
    guests: dict[str, simulated_guest.Guest] = field(default_factory=dict)

    def add_packages(self, source: Path) -> packages.Built:
        """Build a package, serve it, and enter it into the catalog."""
        built = packages.build(source, self.served, self.url)
        self.api.apply(built.manifest)
        return built

    def add_machine(self, name: str, *, declare: bool = True, **options: Any) -> simulated_guest.Guest:
        """Declare a machine and boot a guest for it, with an agent that has a credential for it.

        Args:
            name: of the VirtualMachine and of the guest.
            declare: False leaves the VirtualMachine to the caller.
            options: for the guest (``disk_bytes``, ``small``), and ``agent`` for keys of the agent's configuration.
        """
        if declare:
            self.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
        agent = options.pop("agent", {})
        guest = self.add_guest(name, **options)
        self.join(name, agent)
        return guest

    def join(self, name: str, agent: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0) -> None:
        """Give a guest a credential for its VirtualMachine, once that is declared, and start its agent."""
        guest = self.guests[name]
        anchor_uid = self.await_anchor(name, timeout_s=timeout_s)
        self.give_credential(name, anchor_uid)
        configuration = {
            "server": self.cluster.server,
            "caFile": CA_FILE,
            "tokenFile": TOKEN_FILE,
            "namespace": self.api.namespace,
            "name": name,
            "goalState": goal_state.name_of(name, anchor_uid),
        }
        guest.write(CA_FILE, self.cluster.ca_file.read_bytes(), mode=0o644)
        guest.write(CONFIG, json.dumps(configuration | dict(agent or {})).encode(), mode=0o600)
        guest.start_service(agent_service())

    def add_guest(self, name: str, **options: Any) -> simulated_guest.Guest:
        """Boot a guest with the agent's program on it, that no cluster knows of yet."""
        guest = self._closing.enter_context(simulated_guest.running(name, folder=self.folder / "guests", **options))
        self.guests[name] = guest
        program = f'#!/bin/sh\nexec {simulated_guest.python()} {ROOT}/agent/vmext_agent/__main__.py "$@"\n'
        guest.write("/usr/bin/vmext-agent", program.encode(), mode=0o755)
        return guest

    def await_anchor(self, name: str, *, timeout_s: float = 60.0) -> str:
        """Return the UID of a machine's anchor, once the operator has made it."""

        def anchor(obj: Mapping[str, Any] | None) -> str:
            return str(((obj or {}).get("status") or {}).get("credential", {}).get("anchorUID", ""))

        return anchor(self.api.wait("VirtualMachine", name, lambda obj: bool(anchor(obj)), timeout_s=timeout_s))

    def give_credential(self, name: str, anchor_uid: str) -> None:
        """Put a new token into a machine's guest."""
        token = credentials.issue(self.api, name, anchor_uid)
        self.guests[name].write(TOKEN_FILE, token.encode(), mode=0o600)


def agent_service() -> simulated_guest.Service:
    """Return the agent as a guest's service: started at every boot, and again when it dies, as systemd would."""
    python = simulated_guest.python()
    command = [python, "-m", "vmext_agent", "run", "--config", CONFIG]
    return simulated_guest.Service(AGENT, command, env={"PYTHONPATH": str(ROOT / "agent")}, restart=True)


@contextlib.contextmanager
def running(
    folder: Path,
    report: Report,
    *,
    sources: Sequence[Path] = (ROOT / "extensions" / "CustomScript",),
    cluster: control_plane.Cluster | None = None,
    namespace: str = "default",
    operator_server: str | None = None,
    operator_options: Sequence[str] = (),
    package_host: str = "127.0.0.1",
) -> Iterator[House]:
    """Run everything until the block ends: a control plane of its own unless one is given, and the operator.

    Args:
        folder: for data and logs.
        report: told, a line at a time, what is being done.
        sources: packages to build, to serve and to enter into the catalog.
        cluster: a control plane that runs already.
        namespace: for machines and extensions.
        operator_server: another address by which the operator reaches the API server, such as a proxy's.
        operator_options: of the operator's command line.
        package_host: by which machines reach the packages that are served on this one's loopback.
    """
    with contextlib.ExitStack() as closing:
        if cluster is None:
            cluster = closing.enter_context(control_plane.available(folder / "control-plane", report))
        install(cluster)
        api = Api(cluster.kubeconfig, namespace)
        closing.callback(api.close)
        served = folder / "packages"
        served.mkdir(parents=True, exist_ok=True)
        server = closing.enter_context(PackageServer(served, package_host))
        kubeconfig = credentials.of_operator(cluster, folder, server=operator_server)
        operator = Operator(kubeconfig, folder / "operator.log", *operator_options)
        closing.callback(operator.stop)
        house = House(folder, cluster, api, operator, served, server.url, closing)
        for source in sources:
            built = house.add_packages(source)
            report(f"built and catalogued {built.zip_path.name} ({built.size} bytes)")
        report("starting the operator")
        operator.start()
        yield house


def install(cluster: control_plane.Cluster) -> None:
    """Apply our kinds, policies and the operator's rights; return when the API server serves and enforces them."""
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    permit(cluster)


def permit(cluster: control_plane.Cluster) -> None:
    """Apply our policies and the operator's rights; return when the API server holds to them."""
    cluster.kubectl("apply", "-f", str(RIGHTS))
    deadline = time.monotonic() + _ENFORCED_S
    # A policy is in force a moment after it is there. The API server takes them up in the order in which they came.
    asked = ("create", "secret", "generic", "x", "--namespace=default", "--dry-run=server", f"--as={OPERATOR_USER}")
    while True:
        try:
            cluster.kubectl(*asked)
            why = "it lets the operator create any Secret"
        except control_plane.ControlPlaneError as error:
            why = str(error)
            if LAST_POLICY in why:
                return
        if time.monotonic() > deadline:
            raise control_plane.ControlPlaneError(
                f"the API server does not enforce {LAST_POLICY} after {_ENFORCED_S:.0f} s: {why}"
            )


def extension(name: str, vm: str, **spec: Any) -> Mapping[str, Any]:
    """Return a VirtualMachineExtension, of CustomScript 2.1 unless said otherwise."""
    base = {"vmName": vm, "publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "VirtualMachineExtension",
        "metadata": {"name": name},
        "spec": base | spec,
    }
