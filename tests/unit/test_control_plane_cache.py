"""The cache of the control plane's programs: an entry is complete or absent, whatever happened to who filled it."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from control_plane import cache
from control_plane.binaries import PROGRAMS
from control_plane.errors import SourceError
from support import scripts

#: Fills an entry halfway, says so, and waits for its end.
HALFWAY = """
import sys, time
from pathlib import Path
from control_plane import cache
with cache.filling(Path(sys.argv[1]), print) as draft:
    (draft / "etcd").write_text("half")
    print("filling", flush=True)
    sys.stdin.read()
"""


def nobody(line: str) -> None:
    pytest.fail(f"nothing was to be said, but: {line}")


def fill(entry: Path, content: str = "x") -> None:
    with cache.filling(entry, nobody) as draft:
        assert draft is not None
        for name in PROGRAMS:
            (draft / name).write_text(f"{name} {content}")
            (draft / name).chmod(0o755)
        cache.complete(entry, draft, "a test", PROGRAMS)


def start_filling(entry: Path) -> subprocess.Popen[str]:
    filler, said = scripts.start(HALFWAY, str(entry))
    assert said == "filling"
    return filler


def test_what_was_put_there_is_found(tmp_path: Path) -> None:
    fill(tmp_path / "entry")
    assert cache.read(tmp_path / "entry") == "the cache (a test)"
    assert (tmp_path / "entry" / "kubectl").read_text() == "kubectl x"


def test_who_comes_second_is_told_that_it_is_done(tmp_path: Path) -> None:
    fill(tmp_path / "entry")
    with cache.filling(tmp_path / "entry", nobody) as draft:
        assert draft is None


def test_a_changed_byte_is_noticed_and_named_and_the_entry_is_made_anew(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    fill(entry)
    (entry / "etcd").write_text("etcd y")
    with pytest.raises(
        SourceError, match=r"entry is damaged: the SHA-256 of etcd is [0-9a-f]{64}, it was [0-9a-f]{64}"
    ):
        cache.read(entry)
    fill(entry, "new")
    assert cache.read(entry) == "the cache (a test)"
    assert (entry / "etcd").read_text() == "etcd new"
    assert [path.name for path in tmp_path.iterdir() if path.name != "entry"] == [".entry.lock"]


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"origin": "x"}', '{"origin": "x", "sha256": 1}', "\udcff"])
def test_an_entry_whose_manifest_is_damaged_is_not_used(tmp_path: Path, manifest: str) -> None:
    fill(tmp_path / "entry")
    (tmp_path / "entry" / "complete.json").write_bytes(manifest.encode(errors="surrogateescape"))
    with pytest.raises(SourceError, match="is damaged"):
        cache.read(tmp_path / "entry")


def test_an_entry_without_one_of_its_programs_is_not_used(tmp_path: Path) -> None:
    fill(tmp_path / "entry")
    (tmp_path / "entry" / "kubectl").unlink()
    with pytest.raises(SourceError, match="is damaged: FileNotFoundError"):
        cache.read(tmp_path / "entry")


def test_a_draft_that_lacks_a_program_does_not_become_an_entry(tmp_path: Path) -> None:
    with cache.filling(tmp_path / "entry", nobody) as draft:
        assert draft is not None
        (draft / "kube-apiserver").write_text("x")
        (draft / "kube-apiserver").chmod(0o755)
        (draft / "etcd").write_text("it can't be run")
        with pytest.raises(SourceError, match="a test gave no etcd, kube-controller-manager, kubectl"):
            cache.complete(tmp_path / "entry", draft, "a test", PROGRAMS)
    assert [path.name for path in tmp_path.iterdir()] == [".entry.lock"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_who_is_ended_while_filling_leaves_no_entry_and_nobody_waiting(tmp_path: Path, how: signal.Signals) -> None:
    filler = start_filling(tmp_path / "entry")
    filler.send_signal(how)
    filler.communicate()
    assert not (tmp_path / "entry").exists()
    fill(tmp_path / "entry")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".entry.lock", "entry"]


def test_who_has_to_wait_says_for_whom_and_goes_on_when_that_one_ends(tmp_path: Path) -> None:
    filler = start_filling(tmp_path / "entry")
    said: list[str] = []
    waiting = threading.Event()

    def report(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with cache.filling(tmp_path / "entry", report):
            said.append("its turn")

    thread = threading.Thread(target=second)
    thread.start()
    assert waiting.wait(30)
    assert said == [f"waiting for process {filler.pid}, which is obtaining the same programs"]
    filler.communicate()
    thread.join(30)
    assert said[1:] == ["its turn"]
