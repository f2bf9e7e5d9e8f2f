"""Official release binaries, each checked against the checksum that is published with it."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from control_plane import versions
from control_plane.errors import SourceError
from control_plane.progress import Progress, Report

_TIMEOUT_S = 5.0
_CHUNK = 1 << 20


def fetch_all(wanted: versions.Versions, folder: Path, report: Report) -> str:
    """Download every program into a folder; return in words where from. Raises SourceError."""
    architecture = versions.architecture()
    release = f"{wanted.kubernetes_releases}/v{wanted.kubernetes}/bin/linux/{architecture}"
    for name in ("kube-apiserver", "kube-controller-manager", "kubectl"):
        expected = _text(f"{release}/{name}.sha256").split()[0]
        _file(f"{release}/{name}", folder / name, expected, report)
        (folder / name).chmod(0o755)

    archive = f"etcd-v{wanted.etcd}-linux-{architecture}.tar.gz"
    release = f"{wanted.etcd_releases}/v{wanted.etcd}"
    sums = (line.split()[:2] for line in _text(f"{release}/SHA256SUMS").splitlines() if line.strip())
    listed = {name: checksum for checksum, name in sums}
    if archive not in listed:
        raise SourceError(f"{release}/SHA256SUMS has no checksum for {archive}")
    packed = folder / archive
    _file(f"{release}/{archive}", packed, listed[archive], report)
    try:
        with tarfile.open(packed) as opened:
            program = opened.extractfile(f"{archive.removesuffix('.tar.gz')}/etcd")
            if program is None:
                raise SourceError(f"{archive} holds no etcd")
            (folder / "etcd").write_bytes(program.read())
    except (tarfile.TarError, KeyError, OSError) as error:
        raise SourceError(f"{archive} can't be unpacked: {error}") from error
    (folder / "etcd").chmod(0o755)
    packed.unlink()
    return f"official releases of Kubernetes {wanted.kubernetes} and etcd {wanted.etcd}"


def _text(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            text: str = answer.read(_CHUNK).decode()
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"{url}: {_reason(error)}") from error
    if not text.strip():
        raise SourceError(f"{url} is empty")
    return text


def _file(url: str, target: Path, expected: str, report: Report) -> None:
    """Download a file and check it. Raises SourceError, which names both sums where they differ."""
    progress = Progress(report, f"downloading {target.name}")
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, target.open("wb") as output:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                output.write(chunk)
                size += len(chunk)
                progress.step(f"{size >> 20} of {total >> 20} MiB")
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"{url}: {_reason(error)}") from error
    if digest.hexdigest() != expected.lower():
        target.unlink()
        raise SourceError(f"{url} is refused: its SHA-256 is {digest.hexdigest()}, published is {expected}")
    progress.done(f"{size >> 20} MiB, checksum right")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(error).__name__
