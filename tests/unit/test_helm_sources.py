"""The ways to helm: their order, what each accepts, and what is said when none works."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from control_plane import cache, go_build, sources, versions
from control_plane.errors import ControlPlaneError, SourceError
from helm.sources import ways

ARCHITECTURE = versions.architecture()
NOWHERE = versions.Release("4.3.1", "http://127.0.0.1:9")


def put(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def obtain(tmp_path: Path, wanted: versions.Release = NOWHERE) -> tuple[Path, str]:
    tried = ways(wanted, tmp_path / "cache" / "entry", {"PATH": str(tmp_path / "bin")}, print)
    return sources.first_that_works(tried, print, wanted="helm", remedy="Do something.")


def test_a_helm_4_on_path_is_used(tmp_path: Path) -> None:
    put(tmp_path / "bin", "helm", "echo v4.0.2")
    program = tmp_path / "bin" / "helm"
    assert obtain(tmp_path) == (program, f"{program} (v4.0.2)")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo v3.19.0", r"bin/helm is v3\.19\.0; the tests need helm 4"),
        ("true", "bin/helm is without a version"),
        ("exit 3", "bin/helm does not run"),
    ],
)
def test_a_helm_on_path_that_would_not_do_is_passed_over(tmp_path: Path, script: str, reason: str) -> None:
    put(tmp_path / "bin", "helm", script)
    with pytest.raises(ControlPlaneError, match=reason):
        obtain(tmp_path)


def test_when_no_way_works_one_message_lists_each_with_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError) as raised:
        obtain(tmp_path)
    archive = f"helm-v4.3.1-linux-{ARCHITECTURE}.tar.gz"
    assert str(raised.value).splitlines() == [
        "no way to helm works here:",
        "  - PATH: helm not found",
        f"  - the cache: {tmp_path}/cache/entry is not there yet",
        f"  - official releases: http://127.0.0.1:9/{archive}.sha256: [Errno 111] Connection refused",
        "  - a build with Go: there is no go on PATH; install Go, or make the release addresses reachable",
        "Do something.",
    ]


@pytest.fixture
def mirror(tmp_path: Path) -> versions.Release:
    served = tmp_path / "served"
    served.mkdir()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        member, content = tarfile.TarInfo(f"linux-{ARCHITECTURE}/helm"), b"#!/bin/sh\necho v4.3.1\n"
        member.size = len(content)
        opened.addfile(member, io.BytesIO(content))
    archive = served / f"helm-v4.3.1-linux-{ARCHITECTURE}.tar.gz"
    archive.write_bytes(packed.getvalue())
    archive.with_name(f"{archive.name}.sha256").write_text(hashlib.sha256(packed.getvalue()).hexdigest() + "\n")
    return versions.Release("4.3.1", str(served))


def served(folder: Path) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def test_a_release_is_downloaded_checked_and_kept(tmp_path: Path, mirror: versions.Release) -> None:
    with served(Path(mirror.releases)) as server:
        wanted = versions.Release("4.3.1", f"http://127.0.0.1:{server.server_address[1]}")
        program, origin = obtain(tmp_path, wanted)
        server.shutdown()
    assert origin == "the cache (the official release of helm 4.3.1)"
    assert sources.says(program) == "v4.3.1"
    assert obtain(tmp_path) == (program, origin)


def test_a_release_that_is_not_what_was_published_is_refused(tmp_path: Path, mirror: versions.Release) -> None:
    for file in Path(mirror.releases).glob("*.tar.gz"):
        file.write_bytes(file.read_bytes() + b"x")
    with served(Path(mirror.releases)) as server:
        wanted = versions.Release("4.3.1", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(ControlPlaneError, match=r"is refused: its SHA-256 is [0-9a-f]{64}, published is"):
            obtain(tmp_path, wanted)
        server.shutdown()
    with pytest.raises(SourceError):
        cache.read(tmp_path / "cache" / "entry")


def test_what_go_builds_is_pinned_like_what_is_downloaded() -> None:
    go_build.check_pin("helm", "helm.sh/helm/v4", versions.release("helm").version)
