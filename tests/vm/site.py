"""A virtual machine with the agent under systemd, enrolled with an operator on this computer."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import virtual_machine
from development.api import Api, ApiError, Object
from development.house import House, extension
from development.operator_process import ROOT
from guests.agent_machine import tracer_zip
from support import waiting
from support.plugin import Plugin

#: What takes seconds on a machine takes minutes on an emulated one beside a compiler.
LONG_S = 600.0
UNIT = "vmext-agent"
_PROGRAM = "/usr/lib/vmext-agent"
_ORDER = "/var/log/tracer.order"


@dataclass
class Site:
    """The machine, and what is declared for it."""

    home: House
    machine: virtual_machine.Machine
    #: The tracer's packages that were entered into the catalog: type and version.
    offered: set[tuple[str, str]] = field(default_factory=set)

    @property
    def api(self) -> Api:
        """Return the API server."""
        return self.home.api

    # -- the agent

    def install_agent(self) -> None:
        """Install the agent from this source tree, and its unit, which is not started."""
        self.machine.copy(ROOT / "agent", _PROGRAM)
        unit = (ROOT / "agent/systemd/vmext-agent.service").read_bytes()
        self.machine.write(f"/etc/systemd/system/{UNIT}.service", unit)
        self.machine.run(f"ln -sf {_PROGRAM}/bin/vmext-agent /usr/bin/vmext-agent && systemctl enable -q {UNIT}")

    def enroll(self) -> None:
        """Declare the machine, enroll it by what kubectl vmext prints, and start the agent."""
        name = self.machine.name
        self.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
        server = f"https://{virtual_machine.HOST}:{urlsplit(self.home.cluster.server).port}"
        plugin = Plugin(self.home.cluster.kubeconfig, self.api.namespace)
        self.machine.run(plugin.good("enroll", name, "--server", server).out, timeout_s=LONG_S)
        self.machine.run(["systemctl", "start", UNIT])

    def recover(self) -> None:
        """Bring the machine to where tests begin, whatever the one before has left."""
        if self.machine.is_on and self.machine.hardware.clock:
            self.machine.run(["sync"])
            self.machine.stop()
        if not self.machine.is_on:
            self.machine.start(clock="")
            self.machine.wait_for_boot()
        self.machine.link(on=True)
        self.eventually(lambda: self.machine.run(["true"]), "the machine is not reached")
        self.machine.set_clock(time.time())
        self.machine.run(["systemctl", "reset-failed"])
        self.machine.run(["systemctl", "start", UNIT])

    def main_pid(self) -> int:
        """Return the pid of the agent's first process, 0 for none."""
        return int(self.machine.run(["systemctl", "show", "-P", "MainPID", UNIT]).text)

    def log(self) -> str:
        """Return the agent's log."""
        return self.machine.read("/var/log/waagent.log").decode(errors="replace")

    # -- the tracer, an extension of the test's own

    def offer(self, type_: str, version: str, **spec: Any) -> None:
        """Enter a version of the tracer into the catalog."""
        content, name = tracer_zip(), f"{type_}-{version}.zip".lower()
        (self.home.served / name).write_bytes(content)
        package = {
            "urls": [f"{self.home.url}/{name}"],
            "sha256": hashlib.sha256(content).hexdigest(),
            "sizeBytes": len(content),
        }
        self.api.apply(
            {
                "apiVersion": "vmext.dev/v1alpha1",
                "kind": "VirtualMachineExtensionImage",
                "metadata": {"name": f"test.{type_}-{version}".lower()},
                "spec": {"publisher": "Test", "type": type_, "version": version, "package": package} | spec,
            }
        )

    def does(self, command: str, script: str) -> None:
        """Have the tracer do this for a command (or ``<version>/<command>``), also after a loss of power."""
        path = f"/etc/tracer/{command}"
        self.machine.write(path, script.encode())
        self.machine.run(["sync", path, "/etc/tracer"])

    def declare(self, name: str, type_: str, **spec: Any) -> Object:
        """Declare an extension, of version 1 of the tracer unless told otherwise."""
        base = {"publisher": "Test", "type": type_, "typeHandlerVersion": "1.0"}
        return self.api.apply(extension(name, self.machine.name, **(base | spec)))

    def order(self) -> list[str]:
        """Return ``<version> <command>`` of each command of the tracer's, in their order."""
        lines = self.machine.run(f"cat {_ORDER}", check=False).text.splitlines()
        return [" ".join(line.split()[:2]) for line in lines]

    def eventually(self, test: Callable[[], object], what: str, *, timeout_s: float = LONG_S) -> None:
        """Wait for a condition through a machine that is not reached for a while."""
        missing = (virtual_machine.NotReachedError, virtual_machine.CommandError, ApiError)
        waiting.eventually(test, what, timeout_s=timeout_s, despite=missing)

    def wait_began(self, command: str, count: int = 1) -> None:
        """Wait until the tracer has begun a command so many times, by ``<version> <command>``."""
        self.eventually(lambda: self.order().count(command) >= count, f"{command} was not begun {count} times")

    def clear(self) -> None:
        """Remove what a test has declared and left on the machine."""
        plural = self.api.path("VirtualMachineExtension")
        names = [one["metadata"]["name"] for one in self.api.request("GET", plural)["items"]]
        self.machine.run("rm -rf /etc/tracer /var/log/tracer")
        for name in names:
            self.api.delete("VirtualMachineExtension", name)
        for name in names:
            self.api.wait_gone("VirtualMachineExtension", name, timeout_s=LONG_S)
        self.machine.run(
            shlex.join(
                [
                    "rm",
                    "-rf",
                    "/etc/tracer",
                    "/var/log/tracer",
                    _ORDER,
                    "/var/gate",
                    "/var/once",
                    "/var/pid",
                    "/var/taken",
                ]
            )
        )


def once(script: str, then: str = "") -> str:
    """Return a script of the tracer's that does something the first time only, and something else from then on.

    What it has noted survives a loss of power.
    """
    note = f"touch /var/once; sync /var/once /var {_ORDER}"
    return f"if [ ! -e /var/once ]; then {note}; {script}; fi\n{then}\n"
