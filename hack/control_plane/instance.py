"""One control plane that runs: its processes, its port and its files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from control_plane import certificates, cluster, process, programs
from control_plane.binaries import SERVERS, Binaries
from control_plane.errors import ControlPlaneError
from control_plane.port import HeldPort
from control_plane.readiness import ApiServerProbe, EtcdProbe

_READY_S = 60.0
_LAST_LINES = 8


class ControlPlane:
    """A control plane in a folder of its own; data that is there from an earlier one is used on.

    Args:
        folder: for its data, keys and logs.
        binaries: its programs.
        audit: True writes every request to ``audit.log``, a JSON line each, without bodies.
        outlive: whether its processes go on when the one who started them ends.
        large: whether it is to hold a fleet: etcd may grow to 8 GiB, and history is forgotten every minute.
        options: more of the API server's command line.
        names: names and addresses, besides those of loopback, that the API server's certificate is good for.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Binaries,
        *,
        audit: bool = False,
        outlive: bool = False,
        large: bool = False,
        options: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self.ca_file = self.folder / "keys" / "ca.crt"
        self.audit_log = self.folder / programs.AUDIT_LOG if audit else None
        self.binaries = binaries
        self._outlive = outlive
        self._large = large
        self._options = options
        self._names = names
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._held = contextlib.ExitStack()

    @property
    def token_key(self) -> Path:
        """Return the key that its API server signs tokens with."""
        return self._keys.service_account_key

    @property
    def server(self) -> str:
        """Return the API server's address."""
        return f"https://127.0.0.1:{self._port.number}"

    def start(self) -> None:
        """Start everything and return when it is ready. Raises ControlPlaneError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keys = certificates.make(self.folder / "keys", self._names)
        self._port = self._held.enter_context(contextlib.closing(HeldPort()))
        self._write(programs.AUDIT_POLICY, programs.audit_policy())
        for name, holder in (
            ("kubeconfig", self._keys.admin),
            (programs.CONTROLLERS_KUBECONFIG, self._keys.controller_manager),
        ):
            content = programs.kubeconfig(self.server, self._keys.ca, holder.certificate, holder.key)
            self._write(name, content)
        self._spawn("etcd", programs.etcd(self.binaries, large=self._large))
        self._wait("etcd", EtcdProbe(self.folder / programs.ETCD_SOCKET))
        self.start_api_server()
        self._spawn("kube-controller-manager", programs.controller_manager(self.binaries, self._keys))
        # The account that every namespace gets is the first thing that it makes.
        self._wait("kube-controller-manager", self._probe("/api/v1/namespaces/default/serviceaccounts/default"))

    def start_api_server(self) -> None:
        """Start the API server, again with the same data and address after a stop. Raises ControlPlaneError."""
        if "kube-apiserver" in self._processes:
            raise ControlPlaneError(f"the API server at {self.server} runs already; stop it first")
        command = programs.api_server(
            self.binaries, self._keys, self._port.number, audit=self.audit_log is not None, large=self._large
        )
        self._spawn("kube-apiserver", [*command, *self._options])
        self._wait("kube-apiserver", self._probe("/readyz"))
        self._wait("kube-apiserver", self._probe("/api/v1/namespaces/default"))

    def stop_api_server(self) -> None:
        """Take the API server away; its data and its port are kept for it."""
        if "kube-apiserver" not in self._processes:
            raise ControlPlaneError(f"the API server at {self.server} is stopped already; start it first")
        process.stop(self._processes.pop("kube-apiserver"), patience_s=0.5)

    @contextlib.contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """Stop one of its programs where it stands, until the block ends."""
        running = self._processes[name]
        running.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            running.send_signal(signal.SIGCONT)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess has it
        """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""
        cached = self.folder / "kubectl"
        return cluster.run_kubectl(self.binaries.kubectl, self.kubeconfig, cached, *arguments, input=input)

    def pids(self) -> Mapping[str, int]:
        """Return who its programs are, for those who look at what they cost."""
        return {name: running.pid for name, running in self._processes.items()}

    def check(self) -> None:
        """Raise ControlPlaneError where a program has ended that nobody ended."""
        for name, running in self._processes.items():
            if running.poll() is not None:
                raise ControlPlaneError(f"{name} ended with {running.returncode}: {self._last_words(name)}")

    def stop(self) -> None:
        """End everything."""
        for name in reversed(SERVERS):
            if name in self._processes:
                # What they would take their time for, nobody waits for: etcd has all that was acknowledged.
                process.stop(self._processes.pop(name), patience_s=0.5)
        self.let_go()

    def let_go(self) -> None:
        """Leave its processes to themselves, which go on where they were started so."""
        for running in self._processes.values():
            running.returncode = 0  # so that nobody is warned that it still runs: that is the purpose
        self._processes.clear()
        self._held.close()

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        log = self.folder / f"{name}.log"
        self._processes[name] = process.start(
            command, log=log, folder=self.folder, outlive=self._outlive, record=record(self.folder, name)
        )

    def _probe(self, path: str) -> ApiServerProbe:
        return ApiServerProbe(self._port.number, self._keys, path)

    def _wait(self, name: str, probe: EtcdProbe | ApiServerProbe) -> None:
        deadline = time.monotonic() + _READY_S
        while (why := probe.ask()) is not None:
            self.check()
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{name} is not ready after {_READY_S:.0f} s ({why}): {self._last_words(name)}")
            time.sleep(0.02)

    def _last_words(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return f"its log, {log}, ends with:\n" + "\n".join(f"  {line}" for line in lines or ["(nothing)"])

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w") as output:
            json.dump(content, output, indent=1)


def record(folder: Path, name: str) -> Path:
    """Return where it is written down who a control plane's program is."""
    return folder / f"{name}.pid"


@contextlib.contextmanager
def running(
    folder: Path,
    binaries: Binaries,
    *,
    audit: bool = False,
    large: bool = False,
    options: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Iterator[ControlPlane]:
    """Run a control plane until the block ends, or until the one who runs it does, however that ends.

    Args:
        folder: for its data, keys and logs; keys and logs stay there.
        binaries: its programs.
        audit: True has its ``audit_log`` written.
        large: True for one that holds a fleet.
        options: more of the API server's command line.
        names: names and addresses, besides those of loopback, that the API server's certificate is good for.

    Raises:
        ControlPlaneError: it does not start, or a program of it ended before the block did; the message quotes the
            program's last words.
    """
    instance = ControlPlane(folder, binaries, audit=audit, large=large, options=options, names=names)
    try:
        instance.start()
        yield instance
        instance.check()
    finally:
        instance.stop()
        shutil.rmtree(instance.folder / "etcd", ignore_errors=True)
