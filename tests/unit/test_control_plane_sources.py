"""The ways to the control plane's programs: their order, what each accepts, and what is said when none works."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from control_plane import cache, go_build, sources, versions
from control_plane.binaries import PROGRAMS, Binaries, in_folder
from control_plane.errors import ControlPlaneError, SourceError

WANTED = versions.Versions("1.37.2", "http://127.0.0.1:9/kubernetes", (1, 32), "3.7.3", "http://127.0.0.1:9/etcd")
SAYS = {
    "etcd": "etcd Version: 3.7.3",
    "kube-apiserver": "Kubernetes v1.37.2",
    "kube-controller-manager": "Kubernetes v1.37.2",
    "kubectl": '{"clientVersion": {}}',
}


class Said(list[str]):
    """Lines that were reported."""

    def __call__(self, line: str) -> None:
        self.append(line)


def put(folder: Path, name: str, says: str, status: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    (folder / name).chmod(0o755)


def installed(folder: Path, says: Mapping[str, str] = SAYS) -> Path:
    for name, said in says.items():
        put(folder, name, said)
    return folder


def obtain(tmp_path: Path, said: Said, **environment: str) -> Binaries:
    return sources.first_that_works(sources.ways(WANTED, tmp_path / "cache" / "entry", environment, said), said)


def test_programs_on_path_are_used_and_their_versions_are_said(tmp_path: Path) -> None:
    said = Said()
    folder = installed(tmp_path / "bin")
    found = obtain(tmp_path, said, PATH=str(folder))
    assert found == in_folder(folder, str(folder))
    assert said[:3] == [
        f"{folder}/etcd: etcd Version: 3.7.3",
        f"{folder}/kube-apiserver: Kubernetes v1.37.2",
        f"{folder}/kube-controller-manager: Kubernetes v1.37.2",
    ]


def test_what_kubebuilder_assets_lack_is_taken_from_path(tmp_path: Path) -> None:
    path = installed(tmp_path / "bin")
    assets = installed(tmp_path / "assets", {name: said for name, said in SAYS.items() if "manager" not in name})
    found = obtain(tmp_path, Said(), PATH=str(path), KUBEBUILDER_ASSETS=str(assets))
    assert found.kube_apiserver == assets / "kube-apiserver"
    assert found.kube_controller_manager == path / "kube-controller-manager"


@pytest.mark.parametrize(
    ("name", "says", "status", "reason"),
    [
        ("kube-apiserver", "Kubernetes v1.28.0", 0, "kube-apiserver is Kubernetes v1.28.0; vmext needs 1.32 or newer"),
        ("kube-apiserver", "Kubernetes v1.36.9", 0, "is newer than kube-apiserver (Kubernetes v1.36.9)"),
        ("kube-apiserver", "Kubernetes", 0, "'Kubernetes' names no version"),
        ("etcd", "cannot open shared object", 127, "bin/etcd does not run: "),
        ("kubectl", "", 1, "bin/kubectl does not run: "),
    ],
)
def test_programs_on_path_that_would_not_do_are_passed_over(
    tmp_path: Path, name: str, says: str, status: int, reason: str
) -> None:
    folder = installed(tmp_path / "bin")
    put(folder, name, says, status)
    with pytest.raises(ControlPlaneError) as raised:
        obtain(tmp_path, Said(), PATH=str(folder))
    assert reason in str(raised.value)


def test_when_no_way_works_one_message_lists_each_with_its_own_reason(tmp_path: Path) -> None:
    said = Said()
    with pytest.raises(ControlPlaneError) as raised:
        obtain(tmp_path, said, PATH=str(tmp_path))
    entry = tmp_path / "cache" / "entry"
    lines = str(raised.value).splitlines()
    assert lines[:3] == [
        "no way to a control plane works here:",
        "  - KUBEBUILDER_ASSETS and PATH: etcd, kube-apiserver, kube-controller-manager, kubectl not found",
        f"  - the cache: {entry} is not there yet",
    ]
    assert lines[3].startswith("  - official releases: http://127.0.0.1:9/kubernetes/v1.37.2/bin/linux/")
    assert lines[3].endswith("kube-apiserver.sha256: [Errno 111] Connection refused")
    assert lines[4] == (
        "  - a build with Go: there is no go on PATH; install Go, or make the release addresses reachable"
    )
    assert "VMEXT_KUBECONFIG" in lines[5]
    assert len(lines) == 6
    assert said == [f"not from {line[4:]}" for line in lines[1:5]]
    assert not entry.exists()
    assert [path.name for path in entry.parent.iterdir()] == [".entry.lock"]


def test_a_cache_that_cannot_be_written_is_a_way_that_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(ControlPlaneError, match=r"can't be written: .*VMEXT_CACHE may name another place"):
        obtain(tmp_path, Said(), PATH=str(tmp_path))


def test_the_first_way_that_works_ends_the_search(tmp_path: Path) -> None:
    found = in_folder(tmp_path, "second")

    def first() -> Binaries:
        raise SourceError("not here")

    def third() -> Binaries:
        pytest.fail("it was asked although the second one had answered")

    said = Said()
    assert sources.first_that_works([("a", first), ("b", lambda: found), ("c", third)], said) is found
    assert said == ["not from a: not here"]


def test_a_failing_go_build_is_told_with_the_compilers_words(tmp_path: Path) -> None:
    put(tmp_path / "bin", "go", "go: module lookup disabled by GOPROXY=off", 1)
    with pytest.raises(SourceError, match=r"go build go\.etcd\.io/etcd/server/v3 ended with 1: go: module lookup"):
        go_build.build_all(versions.read(), tmp_path, {"PATH": str(tmp_path / "bin")}, Said())


def test_what_go_builds_is_pinned_like_what_is_downloaded(tmp_path: Path) -> None:
    put(tmp_path / "bin", "go", "")
    other = versions.Versions("1.36.0", "", (1, 32), versions.read().etcd, "")
    with pytest.raises(SourceError, match=r"pins k8s\.io/kubernetes 1\.37\.2, versions\.toml 1\.36\.0"):
        go_build.build_all(other, tmp_path, {"PATH": str(tmp_path / "bin")}, Said())
    # The pins that are checked in agree, so that the first thing to fail is what this go can't do: build.
    with pytest.raises(FileNotFoundError, match="etcd"):
        go_build.build_all(versions.read(), tmp_path, {"PATH": str(tmp_path / "bin")}, Said())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "does not name versions and releases"),
        ("kubernetes = 1\netcd = 2", "does not name versions and releases"),
        ('[kubernetes]\nversion = "v1.37"\n[etcd]\nversion = "3.7.3"', "'v1.37' is no release such as 1.2.3"),
        ("[", "does not name versions and releases"),
    ],
)
def test_a_broken_versions_file_is_named(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "versions.toml"
    file.write_text(content)
    with pytest.raises(ControlPlaneError, match=reason):
        versions.read(file)


def test_an_entry_of_the_cache_is_named_by_versions_system_and_architecture() -> None:
    assert WANTED.key == f"kubernetes-1.37.2-etcd-3.7.3-linux-{versions.architecture()}"


def test_a_complete_cache_entry_comes_before_downloads_and_builds(tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "entry"
    with cache.filling(entry, Said()) as draft:
        assert draft is not None
        cache.complete(entry, installed(draft), "a test", PROGRAMS)
    assert obtain(tmp_path, Said(), PATH=str(tmp_path)) == in_folder(entry, "the cache (a test)")
    assert sorted(path.name for path in entry.iterdir()) == sorted([*PROGRAMS, "complete.json"])
