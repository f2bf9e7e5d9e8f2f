"""Everywhere that a secret could be: the API, etcd with its past, folders, processes, guests. Each says where it is."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import tarfile
import threading
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import control_plane
import simulated_guest
from control_plane import programs
from support.needles import Needles

_ALL = {"key": "AA==", "range_end": "AA=="}
_PAUSE_S = 0.02


class GuestFile(NamedTuple):
    """A file on a guest."""

    path: str
    mode: int
    owner: int

    @property
    def is_roots_alone(self) -> bool:
        """Tell whether nobody but root can read it, by its own mode."""
        return self.owner == 0 and not self.mode & 0o077


def in_api(cluster: control_plane.Cluster, needles: Needles) -> set[str]:
    """Return ``kind/namespace/name`` of objects of any kind that can be listed, with all that kubectl shows of them."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    shown = cluster.kubectl("get", ",".join(kinds), "-A", "-o", "json", "--show-managed-fields")
    return {
        f"{one['kind']}/{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        for one in json.loads(shown)["items"]
        if needles.are_in(json.dumps(one))
    }


def in_etcd(folder: Path, needles: Needles) -> set[str]:
    """Return the keys of whatever has it in etcd, or had it since the last compaction, by a control plane's folder."""
    return {key for key, value in etcd_history(folder) if needles.are_in(key) or needles.are_in(value)}


def etcd_history(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every key with its value, as it is in etcd and as it was at every revision that etcd still has."""
    with _etcd(folder, "/v3/kv/range", _ALL) as answer:
        now = json.load(answer)
    yield from map(_pair, now["kvs"])
    end, since = int(now["header"]["revision"]), 1
    while since <= end:
        wanted = {"create_request": _ALL | {"start_revision": str(since)}}
        with _etcd(folder, "/v3/watch", wanted) as answer:
            for line in answer:
                result = json.loads(line)["result"]
                if "compact_revision" in result:
                    # Older ones are gone: begin with the oldest that is there.
                    since = int(result["compact_revision"])
                    break
                for event in result.get("events", ()):
                    yield _pair(event["kv"])
                    since = int(event["kv"]["mod_revision"]) + 1
                if since > end:
                    break


def in_folder(folder: Path, needles: Needles) -> set[str]:
    """Return the files under a folder that have it, in their name or in themselves."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and (needles.are_in(str(file)) or needles.are_in(file.read_bytes())):
                found.add(str(file.relative_to(folder)))
    return found


def in_process(pid: int, needles: Needles) -> bool:
    """Tell whether it is in a process' arguments, name or environment; one that has ended has nothing."""
    for file in ("cmdline", "environ", "comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if needles.are_in(Path(f"/proc/{pid}/{file}").read_bytes()):
                return True
    return False


def on_guest(guest: simulated_guest.Guest, needles: Needles) -> list[GuestFile]:
    """Return what a guest has written to its disk and has it, in its name or in itself."""
    names = b"".join(path.encode() + b"\0" for path in guest.written())
    # What vanishes meanwhile is nothing to fail for.
    options = ["--ignore-failed-read", "--null", "--no-recursion", "--files-from=-", "--absolute-names"]
    packed = guest.run(["tar", "--create", *options], input=names, check=False).stdout
    found = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            data = content.read() if content is not None else b""
            if needles.are_in(member.name) or needles.are_in(member.linkname) or needles.are_in(data):
                found.append(GuestFile(member.name, member.mode, member.uid))
    return found


class Watching:
    """Looks at all processes of a guest, again and again, until the block ends.

    Attributes:
        looks: how often it has looked.
        seen: the arguments of every process that it has seen.
        found: those of processes that had one of the values.
    """

    def __init__(self, guest: simulated_guest.Guest, values: Sequence[Needles]) -> None:
        self._guest = guest
        self._values = values
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.looks = 0
        self.seen: set[str] = set()
        self.found: set[str] = set()

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_PAUSE_S):
            for process in self._guest.processes():
                words = " ".join(process.argv)
                self.seen.add(words)
                if any(in_process(process.pid, value) for value in self._values):
                    self.found.add(words)
            self.looks += 1


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a socket in a folder, named by the folder's number: the address of a socket holds 107 bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._folder = folder

    def connect(self) -> None:
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{programs.ETCD_SOCKET}")
        finally:
            os.close(folder)


@contextlib.contextmanager
def _etcd(folder: Path, path: str, body: Any) -> Iterator[http.client.HTTPResponse]:
    connection = _OverSocket(folder)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        yield answer
    finally:
        connection.close()


def _pair(pair: Any) -> tuple[str, bytes]:
    return b64decode(pair["key"]).decode(), b64decode(pair.get("value", ""))
