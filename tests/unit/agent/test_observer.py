"""Status files are seen however they are written, and whatever the kernel has to give."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmext_agent.handler import Handler
from vmext_agent.layout import Layout
from vmext_agent.log import Log
from vmext_agent.observer import Observer

NAME = "one"


class Watched:
    """A handler whose status file for sequence number 1 is followed."""

    def __init__(self, root: Path, observer: Observer) -> None:
        self.handler = Handler(Layout(str(root)), "Test.Tracer", "1.0.0")
        self.folder = Path(self.handler.status_folder)
        self.folder.mkdir(parents=True)
        self.path = self.folder / "1.status"
        self.observer = observer
        self.observer.follow(NAME, self.handler, str(self.path))

    def write(self, words: str, status: str = "success", when: str = "") -> None:
        """Write the file as handlers do: beside, and then renamed."""
        message = {"lang": "en", "message": words}
        document = [{"version": 1.0, "timestampUTC": when, "status": {"status": status, "formattedMessage": message}}]
        (self.folder / ".new").write_text(json.dumps(document))
        (self.folder / ".new").rename(self.path)

    def said(self) -> str | None:
        found = self.observer.said(NAME).status
        return None if found is None else found.message

    def sees(self, words: str, within_s: float = 5.0) -> None:
        """Run the agent's loop until these words are seen."""
        deadline = time.monotonic() + within_s
        while self.said() != words:
            left = deadline - time.monotonic()
            assert left > 0, f"it says {self.said()!r}, not {words!r}"
            wait_s = self.observer.wait_s()
            descriptors = [self.observer.descriptor] if self.observer.descriptor >= 0 else []
            select.select(descriptors, [], [], min(left, left if wait_s is None else wait_s))
            self.observer.look()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path, Observer(Log(None)))
    yield made
    made.observer._inotify.close()


def test_what_is_renamed_into_place_is_seen_at_once(watched: Watched) -> None:
    watched.write("first")
    watched.sees("first", within_s=0.5)
    watched.write("second")
    watched.sees("second", within_s=0.5)


def test_what_is_written_in_place_is_seen_when_it_is_closed(watched: Watched) -> None:
    watched.write("whole")
    content = watched.path.read_text()

    with watched.path.open("w") as file:
        file.write(content.replace("whole", "again"))

    watched.sees("again")


def test_half_a_file_is_looked_at_twice_before_it_is_called_malformed(watched: Watched) -> None:
    watched.write("good")
    watched.sees("good")
    watched.path.write_text('[{"status": {"sta')
    watched.observer.look()
    assert watched.said() == "good"

    watched.write("better")
    watched.sees("better")


def test_a_folder_that_is_made_anew_is_followed_again(watched: Watched) -> None:
    watched.write("before")
    watched.sees("before")

    shutil.rmtree(watched.folder)
    watched.observer.look()
    assert watched.said() == "before"
    watched.folder.mkdir()
    watched.write("after")
    watched.sees("after")
    # From now on without a delay again.
    watched.write("soon")
    watched.sees("soon", within_s=0.5)


def test_a_queue_that_overflows_loses_nothing(watched: Watched) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"this machine queues {limit} events: too many to fill it in a test")
    for number in range(limit + 10):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(watched.folder / str(number % 2), os.O_WRONLY | os.O_CREAT))
    # Whatever was written when the queue was full is in no event.
    watched.write("lost")

    watched.observer.look()

    assert watched.said() == "lost"


def test_without_inotify_files_are_looked_at_every_second(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        observer = Observer(Log(None))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert observer.descriptor == -1
    watched = Watched(tmp_path, observer)

    watched.write("slowly")
    watched.sees("slowly")
    watched.write("again")
    watched.sees("again")


def test_a_file_that_is_removed_does_not_take_back_what_it_said(watched: Watched) -> None:
    watched.write("done")
    watched.sees("done")

    watched.path.unlink()
    watched.write("unrelated", "error")
    watched.path.rename(watched.folder / "2.status")
    watched.observer.look()

    assert watched.said() in ("done", "unrelated")


def test_what_is_written_anew_with_another_time_ended_when_it_was_first_told(watched: Watched) -> None:
    watched.write("done", when="2026-01-01T00:00:00Z")
    os.utime(watched.path, (1_700_000_000, 1_700_000_000))
    watched.sees("done")
    first = watched.observer.said(NAME)

    watched.write("done", when="2026-01-01T00:00:05Z")
    watched.observer.look()

    found = watched.observer.said(NAME)
    assert found.written == first.written == "2023-11-14T22:13:20Z"
    assert found.status is not None
    assert found.status.time == "2026-01-01T00:00:05Z"


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "huge", "unreadable"])
def test_what_is_no_file_keeps_nobody_waiting(watched: Watched, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(watched.path)
    elif kind == "folder":
        watched.path.mkdir()
    elif kind == "link":
        watched.path.symlink_to("/dev/zero")
    elif kind == "huge":
        with watched.path.open("w") as file:
            file.truncate(1 << 30)
    else:
        watched.path.write_bytes(b"\xff\xfe\x00")
    watched.observer.follow(NAME, watched.handler, str(watched.path))

    deadline = time.monotonic() + 5
    while watched.said() is None and time.monotonic() < deadline:
        time.sleep(watched.observer.wait_s() or 0.01)
        watched.observer.look()

    assert "code 1012" in str(watched.said())
