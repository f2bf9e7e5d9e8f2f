"""Download a package: addresses in turn, bounded in time and size, its checksum known before anybody looks inside.

Runs in the one-shot process only.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import socket
import ssl
import time
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files
from vmext_agent.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
#: A whole download may take a minute and a second for each of these many bytes.
_SLOWEST_BYTES_PER_S = 16 << 10
_BASE_S = 60.0


class Limits(NamedTuple):
    """Time-outs in seconds, the proxies by the names of their usual environment variables, and who may be asked."""

    connect_s: float
    stall_s: float
    proxy: Mapping[str, str]
    allows: Callable[[str], bool]


class _Failed(Exception):  # noqa: N818 -- never leaves this module
    """One address did not give the package."""


def fetch(urls: Sequence[str], sha256: str, size_bytes: int, path: str, limits: Limits) -> None:
    """Put the package into a file. Raises PackageError (DownloadFailed, ChecksumMismatch), OSError for the disk."""
    failures: list[str] = []
    mismatched = False
    for url in urls:
        try:
            coding = _fetch_one(url, size_bytes, path, limits)
            found = _sha256(path)
        except _Failed as error:
            failures.append(f"{_shown(url)}: {error}")
            continue
        if found == sha256:
            return
        mismatched = True
        failures.append(f"{_shown(url)}: its sha256 is {found}{coding}")
    files.remove(path)
    if mismatched:
        raise PackageError("ChecksumMismatch", f"expected sha256 {sha256}; " + "; ".join(failures))
    raise PackageError("DownloadFailed", "; ".join(failures) or "the goal state names no address")


def _shown(url: str) -> str:
    """Return an address without what may be secret in it: user, password and query."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return repr(url[:100])
    return f"{parts.scheme}://{host}{parts.path}"[:300]


def _fetch_one(url: str, size_bytes: int, path: str, limits: Limits) -> str:
    """Save what an address gives; return what to add to a complaint about its content."""
    deadline = time.monotonic() + _BASE_S + limits.connect_s + limits.stall_s + size_bytes / _SLOWEST_BYTES_PER_S
    for _ in range(_MAX_REDIRECTS + 1):
        # Each time anew: a redirect may lead anywhere.
        if not limits.allows(url):
            raise _Failed(f"{_shown(url)} is not among the hosts that this machine's policy allows")
        try:
            connection, target = _connect(url, limits)
        except (ValueError, UnicodeError) as error:
            raise _Failed(f"is no address: {error}") from None
        try:
            connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "vmext-agent"})
            if connection.sock is not None:
                connection.sock.settimeout(limits.stall_s)
            answer = connection.getresponse()
            if answer.status in _REDIRECTS:
                url = urllib.parse.urljoin(url, answer.getheader("Location") or "")
                continue
            if answer.status != http.client.OK:
                raise _Failed(f"the server answered {answer.status} {answer.reason[:100]}")
            _receive(answer, size_bytes, path, deadline)
        except socket.timeout:
            raise _Failed("timed out") from None
        except (http.client.HTTPException, ValueError) as error:
            raise _Failed(f"the connection broke: {error!r:.200}") from None
        except OSError as error:
            if files.is_full(error):
                raise
            raise _Failed(str(error.strerror or error)[:200]) from None
        finally:
            connection.close()
        return _coding(answer)
    raise _Failed(f"redirects more than {_MAX_REDIRECTS} times")


def _coding(answer: http.client.HTTPResponse) -> str:
    # Not refused outright: servers that go by a file's name say this of packages that are what they should be.
    coding = answer.getheader("Content-Encoding", "")
    if coding.lower() in ("", "identity"):
        return ""
    return f"; the server sends it with Content-Encoding {coding[:100]!r}, although it was asked not to"


def _receive(answer: http.client.HTTPResponse, size_bytes: int, path: str, deadline: float) -> None:
    received = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        while True:
            # One more than it should be, to see that it is larger; never more.
            chunk = answer.read1(min(_CHUNK, size_bytes + 1 - received))
            if not chunk:
                break
            received += len(chunk)
            if received > size_bytes:
                raise _Failed(f"is larger than the {size_bytes} bytes that it should be{_coding(answer)}")
            if time.monotonic() > deadline:
                raise _Failed(f"is too slow: {received} of {size_bytes} bytes came")
            if file.write(chunk) != len(chunk):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    if received < size_bytes:
        raise _Failed(f"ended after {received} of {size_bytes} bytes{_coding(answer)}")


def _connect(url: str, limits: Limits) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection for an address, through a proxy where one is set, and what to ask it for."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("only http and https are allowed")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        raise ValueError("it has characters that an address can't have")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    proxy = limits.proxy.get(f"{parts.scheme}_proxy", "")
    if not proxy or _bypasses(parts.hostname, limits.proxy.get("no_proxy", "")):
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=limits.connect_s), target
        return _tls(parts.hostname, parts.port, limits), target
    through = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if through.scheme != "http" or not through.hostname:
        raise ValueError("the proxy's address is not of the form http://host:port")
    port = through.port or 80
    if parts.scheme == "http":
        absolute = urllib.parse.urlunsplit(("http", parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        return http.client.HTTPConnection(through.hostname, port, timeout=limits.connect_s), absolute
    connection = _tls(through.hostname, port, limits)
    connection.set_tunnel(parts.hostname, parts.port or 443)
    return connection, target


def _tls(host: str, port: int | None, limits: Limits) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(host, port, timeout=limits.connect_s, context=ssl.create_default_context())


def _bypasses(host: str, no_proxy: str) -> bool:
    """Tell whether a host is one of a no_proxy list: itself, or below a domain in it."""
    for item in no_proxy.replace(",", " ").split():
        domain = item.lstrip("*").lstrip(".").lower()
        if item == "*" or (domain and (host.lower() == domain or host.lower().endswith(f".{domain}"))):
            return True
    return False


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 18), b""):
            digest.update(chunk)
    return digest.hexdigest()
