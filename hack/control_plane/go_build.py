"""A build from source with Go, through the Go module proxy."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane import binaries, process, versions
from control_plane.errors import SourceError
from control_plane.progress import Progress, Report

MODULES = Path(__file__).resolve().parents[1] / "go"
_LIST_S = 300.0
#: On two cores with nothing cached, for people to know what they wait for.
_MINUTES = {
    "etcd": 1,
    "kube-apiserver": 8,
    "kube-controller-manager": 3,
    "kubectl": 1,
    "helm": 3,
    "source-controller": 9,
    "kustomize-controller": 2,
}


def build_all(wanted: versions.Versions, folder: Path, environment: Mapping[str, str], report: Report) -> str:
    """Build every program into a folder; return in words how.

    Args:
        wanted: the pinned versions; the modules under hack/go have to pin the same.
        folder: for the programs.
        environment: what Go is configured by.
        report: told what is compiled.

    Raises:
        SourceError: there is no Go, or it fails.
    """
    pins = (("kubernetes", "k8s.io/kubernetes", wanted.kubernetes), ("etcd", "go.etcd.io/etcd/server/v3", wanted.etcd))
    for module, required, version in pins:
        check_pin(module, required, version)
    build("etcd", "go.etcd.io/etcd/server/v3", folder / "etcd", [], environment, report)
    major, minor, _ = wanted.kubernetes.split(".")
    # Clients parse the server's version and fail where it is not set. Which commit it was, the proxy does not tell.
    stamp = {
        "gitVersion": f"v{wanted.kubernetes}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitCommit": "unknown",
        "gitTreeState": "clean",
    }
    flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items()]
    for name in binaries.KUBERNETES:
        build("kubernetes", f"k8s.io/kubernetes/cmd/{name}", folder / name, flags, environment, report)
    return f"a build with Go of Kubernetes {wanted.kubernetes} and etcd {wanted.etcd}"


def check_pin(module: str, required: str, version: str) -> None:
    """Raise SourceError where a module under hack/go pins another version than versions.toml."""
    pinned = _pinned(MODULES / module / "go.mod", required)
    if pinned != version:
        raise SourceError(f"hack/go/{module}/go.mod pins {required} {pinned}, versions.toml {version}")


def _pinned(file: Path, name: str) -> str:
    match = re.search(rf"^(?:require )?\s*{re.escape(name)} v(\S+)(?: // indirect)?$", file.read_text(), re.MULTILINE)
    if match is None:
        raise SourceError(f"hack/go/{file.parent.name}/go.mod does not require {name}")
    return match[1]


def build(
    module: str,
    package: str,
    output: Path,
    flags: Sequence[str],
    environment: Mapping[str, str],
    report: Report,
) -> None:
    """Build one program.

    Args:
        module: the folder under hack/go whose go.mod and go.sum say of what.
        package: the program's.
        output: the file to be made, of the program's name.
        flags: for the linker.
        environment: what Go is configured by.
        report: told what is compiled.

    Raises:
        SourceError: there is no Go, or it fails.
    """
    go = _go(environment)
    # Programs that need no C compiler to be built and no C library to run, for this machine whatever is set for others.
    target = {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": versions.architecture(), "GOWORK": "off"}
    report(f"compiling {output.name} (about {_MINUTES[output.name]} min on two cores when nothing is cached)")
    progress = Progress(report, f"compiling {output.name}")
    command = [go, "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", " ".join(["-s", "-w", *flags])]
    last: deque[str] = deque(maxlen=15)
    # -v names each package as it is compiled: that is the progress there is.
    with subprocess.Popen(
        process.tied([*command, "-o", str(output), package]),
        cwd=MODULES / module,
        env={**environment, **target},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as building:
        assert building.stdout is not None
        ticking = _Ticker(progress)
        try:
            for line in building.stdout:
                last.append(line.strip())
                ticking.saw(line.strip())
        except BaseException:
            building.kill()
            raise
        finally:
            ticking.stop()
    if building.returncode != 0:
        raise SourceError(f"go build {package} ended with {building.returncode}: {' | '.join(last)}")
    progress.done(f"{output.stat().st_size >> 20} MiB")


def module_folder(module: str, required: str, environment: Mapping[str, str]) -> Path:
    """Return the folder of the sources of a required module, which has been built from.

    Args:
        module: the folder under hack/go that requires it.
        required: the module's path.
        environment: what Go is configured by.

    Raises:
        SourceError: there is no Go, or it does not know.
    """
    command = [_go(environment), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", required]
    try:
        done = subprocess.run(
            command,
            cwd=MODULES / module,
            env={**environment, "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=True,
            timeout=_LIST_S,
        )
    except subprocess.CalledProcessError as error:
        raise SourceError(f"go list {required} ended with {error.returncode}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"go list {required} did not end within {_LIST_S:.0f} s") from error
    return Path(done.stdout.strip())


def _go(environment: Mapping[str, str]) -> str:
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        raise SourceError("there is no go on PATH; install Go, or make the release addresses reachable")
    return go


class _Ticker:
    """Keeps the progress going while one package takes long."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._count = 0
        self._latest = "resolving modules, or linking what was compiled before"
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
