"""Official release binaries, each checked against the checksum that is published with it."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from control_plane import binaries, versions
from control_plane.errors import SourceError
from control_plane.progress import Progress, Report

_CONNECT_S = 5.0
_SILENCE_S = 30.0
_CHUNK = 1 << 20
_LARGEST = 1 << 30
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_all(wanted: versions.Versions, folder: Path, report: Report) -> str:
    """Download every program into a folder; return in words where from. Raises SourceError."""
    architecture = versions.architecture()
    release = f"{wanted.kubernetes_releases}/v{wanted.kubernetes}/bin/linux/{architecture}"
    for name in binaries.KUBERNETES:
        url = f"{release}/{name}"
        fetch(url, folder / name, published(f"{url}.sha256", name), report)
        (folder / name).chmod(0o755)

    archive = f"etcd-v{wanted.etcd}-linux-{architecture}.tar.gz"
    release = f"{wanted.etcd_releases}/v{wanted.etcd}"
    packed = folder / archive
    fetch(f"{release}/{archive}", packed, published(f"{release}/SHA256SUMS", archive), report)
    unpack(packed, f"{archive.removesuffix('.tar.gz')}/etcd", folder / "etcd")
    packed.unlink()
    return f"official releases of Kubernetes {wanted.kubernetes} and etcd {wanted.etcd}"


def checksum_of(listed: str, name: str) -> str | None:
    """Return the SHA-256 that a list gives for a file, or None where it gives none.

    A list has lines of a sum and a file's name, or it is one sum alone.
    """
    for line in listed.splitlines():
        words = line.split()
        named = words[1].lstrip("*") if len(words) > 1 else name
        if words and named == name and _SHA256.fullmatch(words[0].lower()):
            return words[0].lower()
    return None


def published(url: str, name: str) -> str:
    """Return the SHA-256 that is published for a file at an address. Raises SourceError."""
    with _opened(url) as answer:
        text = answer.read(_CHUNK).decode("ascii", "replace")
    found = checksum_of(text, name)
    if found is None:
        raise SourceError(f"{url} gives no SHA-256 for {name}")
    return found


def fetch(url: str, target: Path, expected: str, report: Report) -> None:
    """Download a file and check it. Raises SourceError, which names both sums where they differ."""
    progress = Progress(report, f"downloading {target.name}")
    digest, size = hashlib.sha256(), 0
    with _opened(url) as answer, target.open("wb") as output:
        of = f" of {int(answer.headers['Content-Length']) >> 20}" if answer.headers["Content-Length"] else ""
        while chunk := answer.read(_CHUNK):
            digest.update(chunk)
            output.write(chunk)
            size += len(chunk)
            if size > _LARGEST:
                raise SourceError(f"{url} is refused: it is larger than {_LARGEST >> 20} MiB")
            progress.step(f"{size >> 20}{of} MiB")
    if digest.hexdigest() != expected:
        raise SourceError(f"{url} is refused: its SHA-256 is {digest.hexdigest()}, published is {expected}")
    progress.done(f"{size >> 20} MiB, checksum right")


def unpack(archive: Path, member: str, target: Path) -> None:
    """Write one file of an archive, and nothing else of it. Raises SourceError."""
    try:
        with tarfile.open(archive) as opened:
            facts = opened.getmember(member)
            source: IO[bytes] | None = opened.extractfile(facts) if facts.isreg() else None
            if source is None or facts.size > _LARGEST:
                raise SourceError(f"{member} in {archive.name} is no file that could be a program")
            with source, target.open("wb") as output:
                shutil.copyfileobj(source, output, _CHUNK)
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, KeyError, EOFError) as error:
        raise SourceError(f"{archive.name} can't be unpacked: {error}") from error
    target.chmod(0o755)


@contextmanager
def _opened(url: str) -> Iterator[http.client.HTTPResponse]:
    """Ask for an address. Raises SourceError, also for what goes wrong while the block reads the answer."""
    opener = urllib.request.build_opener(_Http, _Https, _Redirects)
    try:
        with opener.open(url, timeout=_CONNECT_S) as answer:
            yield answer
    except urllib.error.URLError as error:
        raise SourceError(
            f"{url}: {error.reason if not isinstance(error, urllib.error.HTTPError) else error}"
        ) from error
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{url}: {str(error) or type(error).__name__}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not out of TLS: the checksum is worth what the channel is."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https://"):
            raise urllib.error.URLError(f"it redirects out of TLS, to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Connection(http.client.HTTPConnection):
    """Gives up early on a server that is not reached, later on one that pauses."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SILENCE_S)


class _TlsConnection(http.client.HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SILENCE_S)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)
