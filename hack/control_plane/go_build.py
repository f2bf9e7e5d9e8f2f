"""A build from source with Go, through the Go module proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from control_plane import versions
from control_plane.errors import SourceError
from control_plane.progress import Progress, Report

MODULES = Path(__file__).resolve().parents[1] / "go"
#: Seconds on two cores with nothing cached, for people to know what they wait for.
_MINUTES = {"etcd": 1, "kube-apiserver": 8, "kube-controller-manager": 3, "kubectl": 1}


def build_all(wanted: versions.Versions, folder: Path, report: Report) -> str:
    """Build every program into a folder; return in words how. Raises SourceError."""
    go = shutil.which("go")
    if go is None:
        raise SourceError("there is no go on PATH; install Go, or make the release addresses reachable")
    version = _pinned(MODULES / "kubernetes" / "go.mod", "k8s.io/kubernetes")
    if version != wanted.kubernetes:
        raise SourceError(f"hack/go/kubernetes/go.mod pins Kubernetes {version}, versions.toml {wanted.kubernetes}")
    version = _pinned(MODULES / "etcd" / "go.mod", "go.etcd.io/etcd/server/v3")
    if version != wanted.etcd:
        raise SourceError(f"hack/go/etcd/go.mod pins etcd {version}, versions.toml {wanted.etcd}")

    _build(go, "etcd", "go.etcd.io/etcd/server/v3", folder / "etcd", [], report)
    major, minor, _ = wanted.kubernetes.split(".")
    # Clients parse the server's version and fail where it is not set.
    stamp = {"gitVersion": f"v{wanted.kubernetes}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items()]
    for name in ("kube-apiserver", "kube-controller-manager", "kubectl"):
        _build(go, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", folder / name, flags, report)
    return f"a build with Go of Kubernetes {wanted.kubernetes} and etcd {wanted.etcd}"


def _pinned(module: Path, name: str) -> str:
    match = re.search(rf"^(?:require )?\s*{re.escape(name)} v(\S+)$", module.read_text(), re.MULTILINE)
    if match is None:
        raise SourceError(f"{module.name} of {module.parent.name} does not require {name}")
    return match[1]


def _build(go: str, module: str, package: str, output: Path, flags: Sequence[str], report: Report) -> None:
    progress = Progress(report, f"compiling {output.name}")
    report(f"compiling {output.name} (about {_MINUTES[output.name]} min on two cores when nothing is cached)")
    command = [go, "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", " ".join(["-s", "-w", *flags])]
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": os.environ.get("GOFLAGS", "")}
    last: deque[str] = deque(maxlen=15)
    # -v names each package as it is compiled: that is the progress there is.
    with subprocess.Popen(
        [*command, "-o", str(output), package],
        cwd=MODULES / module,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        ticking = _Ticker(progress)
        try:
            for line in process.stdout:
                last.append(line.strip())
                ticking.saw(line.strip())
        except BaseException:
            process.kill()
            raise
        finally:
            ticking.stop()
    if process.returncode != 0:
        raise SourceError(f"go build {package} ended with {process.returncode}: {' | '.join(last)}")
    progress.done(f"{output.stat().st_size >> 20} MiB")


class _Ticker:
    """Keeps the progress going while one package takes long."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._count = 0
        self._latest = "resolving modules"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def saw(self, line: str) -> None:
        """Take in a line of the compiler's."""
        self._count += 1
        self._latest = line

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._ended.wait(0.5):
            self._progress.step(f"{self._count} packages, now {self._latest[-60:]}")
