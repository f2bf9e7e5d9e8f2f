"""CustomScript's fileUris: what is downloaded, how often it is tried, and what is said when it can't be had."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from guests.custom_script_machine import Machine

RUN = "./hello.sh"
HELLO = b"#!/bin/sh\necho hello\n"


class Answer(NamedTuple):
    """What the server says to one request."""

    status: int = 200
    body: bytes = b""
    location: str = ""
    announced: int | None = None
    """The Content-Length that is claimed, where it is not that of the body."""
    hangs_up: bool = False


class Server(ThreadingHTTPServer):
    """Serves each path's answers one after another, the last of them for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        answers = self.server.answers.get(urlsplit(self.path).path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.hangs_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.location:
            self.send_header("Location", answer.location)
        self.send_header("Content-Length", str(len(answer.body) if answer.announced is None else answer.announced))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the tests' output clean."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_files_are_there_for_the_command_and_can_be_executed(machine: Machine, server: Server) -> None:
    server.answers = {"/a/hello.sh": [Answer(body=HELLO)], "/b/some%20data": [Answer(body=b"\x00\r\n\xff")]}
    files = [server.url("/a/hello.sh?sig=secret"), server.url("/b/some%20data")]
    outcome = machine.enable(1, {"fileUris": files, "commandToExecute": RUN})
    assert outcome.message == "Enable succeeded: \n[stdout]\nhello\n\n[stderr]\n"
    folder = machine.download_folder(1)
    assert sorted(path.name for path in folder.iterdir()) == ["hello.sh", "some data", "stderr", "stdout"]
    assert stat.S_IMODE((folder / "hello.sh").stat().st_mode) == 0o500
    assert (folder / "some data").read_bytes() == b"\x00\r\n\xff"
    assert server.requests == ["/a/hello.sh?sig=secret", "/b/some%20data"]


def test_names_that_differ_only_in_case_are_two_files(machine: Machine, server: Server) -> None:
    server.answers = {"/a/Run.sh": [Answer(body=b"one")], "/run.sh": [Answer(body=b"two")]}
    files = [server.url("/a/Run.sh"), server.url("/run.sh")]
    outcome = machine.enable(1, {"fileUris": files, "commandToExecute": "cat Run.sh run.sh"})
    assert "[stdout]\nonetwo\n" in outcome.message


def test_the_same_address_twice_is_one_file_and_is_downloaded_once(machine: Machine, server: Server) -> None:
    server.answers = {"/hello.sh": [Answer(body=HELLO)]}
    outcome = machine.enable(1, {"fileUris": [server.url("/hello.sh")] * 2, "commandToExecute": RUN})
    assert outcome.state == "success"
    assert server.requests == ["/hello.sh"]


def test_a_file_may_have_the_name_of_a_script_where_there_is_none(machine: Machine, server: Server) -> None:
    server.answers = {"/script.sh": [Answer(body=HELLO)]}
    outcome = machine.enable(1, {"fileUris": [server.url("/script.sh")], "commandToExecute": "./script.sh"})
    assert outcome.state == "success"


@pytest.mark.parametrize(
    ("name", "body", "converted"),
    [
        ("hello.sh", b"\xef\xbb\xbf#!/bin/sh\r\necho hello\r\n", b"#!/bin/sh\necho hello\n"),
        ("hello", b"#!/bin/sh\r\necho hello\r\n", b"#!/bin/sh\necho hello\n"),
        ("note.TXT", b"one\r\ntwo\rthree\r", b"one\ntwo\rthree\r"),
        ("big.py", b"x" * 65535 + b"\r\n" + b"y" * 65535 + b"\r\r\n", b"x" * 65535 + b"\n" + b"y" * 65535 + b"\r\n"),
        ("data.bin", b"\xef\xbb\xbfone\r\n", b"\xef\xbb\xbfone\r\n"),
        ("empty.sh", b"", b""),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_scripts_from_windows_are_converted_and_nothing_else_is(
    machine: Machine, server: Server, name: str, body: bytes, converted: bytes, skip: bool
) -> None:
    server.answers = {f"/{name}": [Answer(body=body)]}
    machine.enable(1, {"fileUris": [server.url(f"/{name}")], "commandToExecute": "true", "skipDos2Unix": skip})
    assert (machine.download_folder(1) / name).read_bytes() == (body if skip else converted)


def test_a_file_that_is_not_there_is_named_by_its_place_and_not_asked_for_again(
    machine: Machine, server: Server
) -> None:
    server.answers = {"/hello.sh": [Answer(body=HELLO)]}
    files = [server.url("/hello.sh"), server.url("/missing.sh?sig=secret")]
    outcome = machine.enable(1, {"fileUris": files, "commandToExecute": RUN})
    assert (outcome.code, outcome.state) == (0, "error")
    assert outcome.message == (
        "Enable failed: processing file downloads failed: failed to download file[1] of fileUris: "
        "the server answered 404 Not Found (attempts: 1)"
    )
    assert server.requests.count("/missing.sh?sig=secret") == 1
    assert "secret" not in machine.log
    assert not (machine.download_folder(1) / "stdout").exists(), "the command was not run"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Answer(status=503), "the server answered 503 Service Unavailable"),
        (Answer(body=HELLO[:-5], announced=len(HELLO)), f"the answer was cut short: {len(HELLO) - 5} of {len(HELLO)}"),
        (Answer(hangs_up=True), "the server gave no answer in HTTP: RemoteDisconnected"),
    ],
    ids=["unavailable", "cut short", "hung up"],
)
def test_what_may_pass_is_tried_again(machine: Machine, server: Server, first: Answer, reason: str) -> None:
    server.answers = {"/hello.sh": [first, Answer(body=HELLO)]}
    outcome = machine.enable(1, {"fileUris": [server.url("/hello.sh")], "commandToExecute": RUN})
    assert outcome.state == "success"
    assert len(server.requests) == 2
    assert f"attempt=1 reason={reason}" in machine.log
    folder = machine.download_folder(1)
    assert sorted(path.name for path in folder.iterdir()) == ["hello.sh", "stderr", "stdout"]


def test_a_server_that_is_not_there_is_given_up_after_five_attempts(machine: Machine) -> None:
    outcome = machine.enable(1, {"fileUris": ["http://127.0.0.1:1/hello.sh"], "commandToExecute": RUN})
    assert outcome.state == "error"
    assert outcome.message.endswith("can't reach the server: Connection refused (attempts: 5)")


@pytest.mark.parametrize(
    ("status", "target"), [(301, "/store/0815"), (302, "/stdout"), (303, "/store/"), (307, "/other.sh"), (308, "/x/y")]
)
def test_a_redirect_is_followed_and_the_name_stays(machine: Machine, server: Server, status: int, target: str) -> None:
    server.answers = {
        "/hello.sh": [Answer(status=status, location=server.url(target))],
        target: [Answer(body=HELLO)],
    }
    outcome = machine.enable(1, {"fileUris": [server.url("/hello.sh")], "commandToExecute": RUN})
    assert outcome.state == "success"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1:1/x", "data:text/plain,hello"])
def test_a_redirect_leads_to_no_other_protocol(machine: Machine, server: Server, location: str) -> None:
    server.answers = {"/hello.sh": [Answer(status=302, location=location)]}
    outcome = machine.enable(1, {"fileUris": [server.url("/hello.sh")], "commandToExecute": "cat hello.sh"})
    assert outcome.state == "error"
    assert "(attempts: 1)" in outcome.message
    assert not (machine.download_folder(1) / "hello.sh").exists()
