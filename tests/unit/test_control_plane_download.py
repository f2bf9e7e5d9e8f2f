"""Official releases, from a mirror on loopback: what is refused, and that it is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from control_plane import cache, download, sources, versions
from control_plane.binaries import PROGRAMS, in_folder
from control_plane.errors import ControlPlaneError, SourceError

ARCHITECTURE = versions.architecture()
RELEASE = f"/kubernetes/v1.37.2/bin/linux/{ARCHITECTURE}"
ARCHIVE = f"etcd-v3.7.3-linux-{ARCHITECTURE}.tar.gz"
SUMS = "/etcd/v3.7.3/SHA256SUMS"
PACKED = f"/etcd/v3.7.3/{ARCHIVE}"
MEMBER = f"etcd-v3.7.3-linux-{ARCHITECTURE}/etcd"


class Mirror:
    """A server of files, and the versions that name it."""

    def __init__(self, url: str, files: dict[str, bytes]) -> None:
        self.url = url
        self.files = files
        self.versions = versions.Versions("1.37.2", f"{url}/kubernetes", (1, 32), "3.7.3", f"{url}/etcd")

    def put_archive(self, packed: bytes) -> None:
        self.files[PACKED] = packed
        self.files[SUMS] = f"{'0' * 64}  other.tar.gz\n{sha256(packed)}  {ARCHIVE}\n".encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(name: str = MEMBER, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Pack one member; the same bytes whenever it is called: gzip's header would name the second."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/shadow"
        content = b"#!/bin/sh\n" if kind == tarfile.REGTYPE else b""
        member.size = len(content)
        opened.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            # Two more bytes are promised than come for what is cut short.
            promised = len(content or b"") + (2 if (content or b"").startswith(b"cut short") else 0)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made = Mirror(f"http://127.0.0.1:{server.server_address[1]}", files)
        for name in ("kube-apiserver", "kube-controller-manager", "kubectl"):
            files[f"{RELEASE}/{name}"] = name.encode()
            files[f"{RELEASE}/{name}.sha256"] = sha256(name.encode()).encode()
        made.put_archive(archive())
        yield made
        server.shutdown()
        thread.join()


def fetch(mirror: Mirror, folder: Path) -> list[str]:
    said: list[str] = []
    download.fetch_all(mirror.versions, folder, said.append)
    return said


def test_releases_whose_checksums_agree_are_taken_and_their_sizes_said(mirror: Mirror, tmp_path: Path) -> None:
    said = fetch(mirror, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PROGRAMS)
    assert (tmp_path / "etcd").read_bytes() == b"#!/bin/sh\n"
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in tmp_path.iterdir())
    assert said[0] == "downloading kube-apiserver: 0 MiB, checksum right, 0 s"


def test_a_wrong_checksum_is_refused_with_both_sums_and_what_it_is_of(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[f"{RELEASE}/kube-apiserver"] = b"evil"
    with pytest.raises(SourceError) as raised:
        fetch(mirror, tmp_path)
    assert str(raised.value) == (
        f"{mirror.url}{RELEASE}/kube-apiserver is refused: "
        f"its SHA-256 is {sha256(b'evil')}, published is {sha256(b'kube-apiserver')}"
    )


def test_a_refused_release_is_reported_and_the_next_way_is_tried(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[PACKED] = archive() + b"evil"
    entry = tmp_path / "entry"
    said: list[str] = []
    tried = sources.ways(mirror.versions, entry, {"PATH": str(tmp_path)}, said.append)
    with pytest.raises(ControlPlaneError) as raised:
        sources.first_that_works(tried, said.append)
    refusal = f"official releases: {mirror.url}{PACKED} is refused: its SHA-256 is {sha256(archive() + b'evil')}"
    assert refusal in str(raised.value)
    assert "a build with Go: there is no go on PATH" in str(raised.value)
    assert any(line.startswith("not from official releases: ") and "is refused" in line for line in said)
    assert not entry.exists()


def test_a_way_that_works_fills_the_cache(mirror: Mirror, tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    found = sources.first_that_works(sources.ways(mirror.versions, entry, {"PATH": str(tmp_path)}, print), print)
    assert found == in_folder(entry, cache.read(entry))
    assert "official releases of Kubernetes 1.37.2 and etcd 3.7.3" in found.origin


@pytest.mark.parametrize("published", [b"", b"<html>not found</html>", b"0123  kube-apiserver", b"\xff\xfe"])
def test_without_a_published_checksum_nothing_is_taken(mirror: Mirror, tmp_path: Path, published: bytes) -> None:
    mirror.files[f"{RELEASE}/kube-apiserver.sha256"] = published
    with pytest.raises(SourceError, match=r"kube-apiserver\.sha256 gives no SHA-256 for kube-apiserver"):
        fetch(mirror, tmp_path)
    assert not (tmp_path / "kube-apiserver").exists()


def test_a_missing_file_and_one_cut_short_are_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[f"{RELEASE}/kubectl"] = b"cut short"
    with pytest.raises(SourceError, match=r"/kubectl(:| is refused)"):
        fetch(mirror, tmp_path)
    del mirror.files[f"{RELEASE}/kubectl"]
    with pytest.raises(SourceError, match=r"/kubectl: HTTP Error 404"):
        fetch(mirror, tmp_path)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        pytest.param(b"no archive", "can't be unpacked", id="no archive"),
        pytest.param(archive()[:60], "can't be unpacked", id="cut short"),
        pytest.param(archive("etcd"), "can't be unpacked", id="elsewhere in it"),
        pytest.param(archive(kind=tarfile.SYMTYPE), "is no file that could be a program", id="link"),
        pytest.param(archive(kind=tarfile.CHRTYPE), "is no file that could be a program", id="device"),
    ],
)
def test_an_archive_that_holds_no_etcd_is_refused(mirror: Mirror, tmp_path: Path, packed: bytes, reason: str) -> None:
    mirror.put_archive(packed)
    with pytest.raises(SourceError, match=reason):
        fetch(mirror, tmp_path)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ("a" * 64, "a" * 64),
        ("A" * 64 + "\n", "a" * 64),
        (f"{'b' * 64}  other\n{'a' * 64} *name\n", "a" * 64),
        (f"{'b' * 64}  other\n", None),
        ("a" * 63, None),
        ("\n", None),
    ],
)
def test_a_list_of_checksums_is_read_in_its_common_forms(published: str, expected: str | None) -> None:
    assert download.checksum_of(published, "name") == expected
