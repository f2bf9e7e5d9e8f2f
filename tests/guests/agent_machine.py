"""A machine for tests of the agent: a guest, its agent, and a GoalState that the test writes as the operator would."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import control_plane
import simulated_guest
from development import credentials
from development.api import Api, ApiError
from development.house import CA_FILE, CONFIG, TOKEN_FILE, agent_service
from development.package_server import PackageServer
from support import waiting
from support.guests import skipping
from vmext_operator.api.goal_state import name_of

#: What its goal state is for.
VM_UID, ANCHOR_UID = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
HANDLER = "Test.Tracer"
SOURCE = Path(__file__).resolve().parents[1] / "handlers" / "tracer" / "handler"
PATIENCE_S = 30.0
COMMANDS = ("install", "enable", "disable", "uninstall", "update")
#: The part of a handler's script that waits until the test opens the gate.
GATE = "while [ ! -e /var/gate ]; do sleep 0.02; done\n"

#: Waits on a condition through a machine that restarts and a file that is not there yet.
eventually = partial(
    waiting.eventually, timeout_s=PATIENCE_S, despite=(FileNotFoundError, ApiError, simulated_guest.GuestError)
)

Status = Mapping[str, Any]


def manifest(**fields: object) -> bytes:
    """Return a HandlerManifest.json for the tracer."""
    commands = {f"{name}Command": f"handler {name}" for name in COMMANDS}
    return json.dumps([{"version": 1.0, "handlerManifest": {**commands, **fields}}]).encode()


def tracer_zip(**fields: object) -> bytes:
    """Return the tracer's package; `fields` go into its manifest."""
    return zipped({"HandlerManifest.json": manifest(**fields), "handler": SOURCE.read_bytes()})


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of these files, without modes, as most tools for Windows make them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@dataclass
class Machine:
    """A guest with an agent, and the goal state that it follows."""

    name: str
    api: Api
    cluster: control_plane.Cluster
    guest: simulated_guest.Guest
    served: Path
    url: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    last: int = 0
    #: What else is in its goal: it is written as a whole.
    more: dict[str, Any] = field(default_factory=dict)

    def package(self, content: bytes, name: str = "package.zip", urls: Sequence[str] = ()) -> dict[str, Any]:
        """Serve a package and return the part of an entry that describes it."""
        (self.served / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return {"urls": list(urls) or [f"{self.url}/{name}"], "sha256": sha256, "sizeBytes": len(content)}

    def want(
        self,
        name: str = "one",
        *,
        version: str = "1.0.0",
        state: str = "enabled",
        handler: str = HANDLER,
        package: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        protected: tuple[str, str] | None = None,
        timeout_s: int = 60,
        uid: str | None = None,
        same_number: bool = False,
        several: bool = False,
    ) -> dict[str, Any]:
        """Put an entry into the goal, with the next sequence number unless told otherwise; return it.

        `protected` is a ciphertext and the thumbprint that it is for; `several` says that the handler takes several.
        """
        if not same_number:
            self.last += 1
        self.entries[name] = {
            "name": name,
            "uid": uid or f"uid-{name}",
            "state": state,
            "sequenceNumber": self.entries[name]["sequenceNumber"] if same_number else self.last,
            "settings": json.dumps(settings or {}),
            "timeoutSeconds": timeout_s,
            "handler": {
                "name": handler,
                "version": version,
                "package": package or self.package(tracer_zip(), f"{handler}-{version}.zip"),
            },
        }
        if several:
            self.entries[name]["handler"]["multiConfig"] = True
        if protected is not None:
            self.entries[name] |= {"protectedSettings": protected[0], "thumbprint": protected[1]}
        self.apply()
        return self.entries[name]

    def remove(self, name: str = "one", *, state: str = "uninstall") -> None:
        """Have an extension uninstalled or orphaned: the entry as it was, with another state."""
        self.entries[name] = {**self.entries[name], "state": state}
        self.apply()

    def apply(self) -> None:
        """Write the goal state."""
        self.api.apply(
            {
                "apiVersion": "vmext.dev/v1alpha1",
                "kind": "GoalState",
                "metadata": {"name": name_of(self.name, ANCHOR_UID)},
                "spec": {
                    "vmName": self.name,
                    "vmUID": VM_UID,
                    "anchorUID": ANCHOR_UID,
                    **self.more,
                    "modelHash": "hash",
                    "lastSequenceNumber": self.last,
                    "extensions": list(self.entries.values()),
                },
            }
        )

    def state(self) -> dict[str, Any]:
        """Return the GoalState."""
        found: dict[str, Any] | None = self.api.get("GoalState", self.name)
        assert found is not None, "there is no goal state"
        return found

    def status(self, name: str = "one") -> Status:
        """Return what the agent reports of an extension."""
        reported: Status = (self.state().get("status") or {}).get("extensions", {}).get(name, {})
        return reported

    def wait(self, test: Callable[[Status], bool], name: str = "one", *, timeout_s: float = PATIENCE_S) -> Status:
        """Wait until what is reported of the extension's present entry passes a test; return it."""
        entry = self.entries[name]
        wanted = (entry["uid"], entry["state"], entry["sequenceNumber"], entry["handler"]["version"])

        def check(obj: Mapping[str, Any] | None) -> bool:
            one = ((obj or {}).get("status") or {}).get("extensions", {}).get(name, {})
            return tuple(one.get(key) for key in ("uid", "state", "sequenceNumber", "version")) == wanted and test(one)

        found = self.api.wait("GoalState", self.name, check, timeout_s=timeout_s)
        assert found is not None
        status: Status = found["status"]["extensions"][name]
        return status

    def ends(self, outcome: str, name: str = "one", **options: Any) -> Status:
        """Wait until the extension's present entry has an outcome; return what is reported of it."""
        return self.wait(lambda one: one["outcome"] == outcome, name, **options)

    @contextlib.contextmanager
    def watched(self, name: str, number: int) -> Iterator[list[Mapping[str, Any]]]:
        """Collect the goal state at every write, from now until that extension has succeeded with that number."""
        seen: list[Mapping[str, Any]] = []

        def is_done(obj: Mapping[str, Any] | None) -> bool:
            assert obj is not None, "there is no goal state"
            if not seen or seen[-1]["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                seen.append(obj)
            one = obj["status"]["extensions"].get(name, {})
            return (one.get("sequenceNumber"), one.get("outcome")) == (number, "Succeeded")

        api = Api(self.cluster.kubeconfig, self.api.namespace)
        with ThreadPoolExecutor() as pool, contextlib.closing(api):
            watched = pool.submit(api.wait, "GoalState", self.name, is_done, timeout_s=PATIENCE_S)
            eventually(lambda: seen)
            yield seen
            watched.result()

    def does(self, command: str, script: str) -> None:
        """Have the tracer do this for a command (or ``<version>/<command>``)."""
        self.guest.write(f"/etc/tracer/{command}", script.encode(), mode=0o644)

    def open_gate(self) -> None:
        """Let scripts that wait at the gate go on."""
        self.guest.write("/var/gate", b"")

    def order(self) -> list[str]:
        """Return ``<version> <command> <sequence number>`` of each command that was run, in their order."""
        try:
            lines = self.guest.read("/var/log/tracer.order").decode().splitlines()
        except FileNotFoundError:
            return []
        return [" ".join(line.split()[:3]) for line in lines]

    def environment(self, number: int) -> dict[str, str]:
        """Return the environment that the n-th command saw."""
        listed = self.guest.run(["sh", "-c", f"cat /var/log/tracer/{number}.*"]).stdout.decode()
        return dict(line.split("=", 1) for line in listed.splitlines())

    def log(self) -> str:
        """Return the agent's log."""
        return self.guest.read("/var/log/waagent.log").decode()

    def worker(self) -> int:
        """Return the host's number of the agent's worker."""
        found = [one.pid for one in self.guest.processes() if "worker" in one.argv]
        assert found, "the agent has no worker"
        return found[0]

    def kill_worker(self) -> None:
        """Kill the worker as a crash would, and wait until another is there."""
        old = self.worker()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: [one.pid for one in self.guest.processes() if "worker" in one.argv and one.pid != old])

    def kill_agent(self) -> None:
        """Kill parent and worker as a crash would; the guest's init starts the agent again."""
        old = {one.pid for one in self.guest.processes() if "worker" in one.argv}
        self.guest.kill_service("agent")
        eventually(lambda: [one.pid for one in self.guest.processes() if "worker" in one.argv and one.pid not in old])


@contextlib.contextmanager
def running(
    cluster: control_plane.Cluster, api: Api, folder: Path, *, name: str = "web-1", start: bool = True, **options: Any
) -> Iterator[Machine]:
    """Boot a guest with an agent; `agent` among the options are keys of the agent's configuration."""
    agent = options.pop("agent", {})
    served = folder / "served"
    served.mkdir(exist_ok=True)
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(PackageServer(served))
        with skipping():
            guest = closing.enter_context(simulated_guest.running(name, folder=folder / "guest", **options))
        machine = Machine(name, api, cluster, guest, served, server.url)
        guest.write(TOKEN_FILE, credentials.issue(api, name, ANCHOR_UID).encode(), mode=0o600)
        guest.write(CA_FILE, cluster.ca_file.read_bytes(), mode=0o644)
        configuration = {
            "server": cluster.server,
            "caFile": CA_FILE,
            "tokenFile": TOKEN_FILE,
            "namespace": api.namespace,
            "name": name,
            "goalState": name_of(name, ANCHOR_UID),
        }
        guest.write(CONFIG, json.dumps({**configuration, **agent}).encode(), mode=0o600)
        if start:
            guest.start_service(agent_service())
        yield machine


__all__ = [
    "ANCHOR_UID",
    "CA_FILE",
    "CONFIG",
    "GATE",
    "HANDLER",
    "TOKEN_FILE",
    "VM_UID",
    "Machine",
    "eventually",
    "running",
]
