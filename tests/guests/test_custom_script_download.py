"""CustomScript's fileUris: what is downloaded, how often it is tried, and what is said when it can't be had."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from guests.custom_script_machine import SOURCE, Machine

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
    headers: tuple[tuple[str, str], ...] = ()


class Server(ThreadingHTTPServer):
    """Serves each path's answers one after another, the last of them for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[str] = []
        self.accepted: list[str | None] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.accepted.append(self.headers["Accept-Encoding"])
        answers = self.server.answers.get(urlsplit(self.path).path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.hangs_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.location:
            self.send_header("Location", answer.location)
        for name, value in answer.headers:
            self.send_header(name, value)
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


def encoded_as(*codings: str, content_type: str = "text/plain") -> tuple[tuple[str, str], ...]:
    return (*(("Content-Encoding", coding) for coding in codings), ("Content-Type", content_type))


RAW_DEFLATE = zlib.compress(HELLO)[2:-4]
GZIP = gzip.compress(HELLO)
MANY = os.urandom(1 << 20)


@pytest.mark.parametrize(
    ("coding", "sent", "body"),
    [
        ("gzip", gzip.compress(HELLO), HELLO),
        ("x-gzip", gzip.compress(HELLO), HELLO),
        ("GZIP, identity", gzip.compress(HELLO), HELLO),
        ("aws-chunked,gzip", gzip.compress(HELLO), HELLO),
        ("gzip", gzip.compress(HELLO[:9]) + gzip.compress(HELLO[9:]) + bytes(512), HELLO),
        ("gzip", gzip.compress(MANY) + gzip.compress(HELLO), MANY + HELLO),
        ("gzip", gzip.compress(b""), b""),
        ("gzip", b"", b""),
        ("gzip", gzip.compress(bytes(4 << 20)), bytes(4 << 20)),
        ("deflate", zlib.compress(HELLO), HELLO),
        ("deflate", RAW_DEFLATE, HELLO),
    ],
    ids=["gzip", "old name", "and identity", "framing", "two", "large", "none", "no bytes", "zeros", "deflate", "raw"],
)
def test_a_body_that_comes_compressed_although_it_should_not_is_unpacked(
    machine: Machine, server: Server, coding: str, sent: bytes, body: bytes
) -> None:
    server.answers = {"/data": [Answer(body=sent, headers=encoded_as(coding))]}
    outcome = machine.enable(1, {"fileUris": [server.url("/data")], "commandToExecute": "true"})
    assert outcome.state == "success", outcome.message
    assert server.accepted == ["identity"]
    assert (machine.download_folder(1) / "data").read_bytes() == body


def test_a_script_that_comes_compressed_is_converted_and_runs(machine: Machine, server: Server) -> None:
    body = gzip.compress(HELLO.replace(b"\n", b"\r\n"))
    server.answers = {"/hello": [Answer(body=body, headers=encoded_as("gzip"))]}
    outcome = machine.enable(1, {"fileUris": [server.url("/hello")], "commandToExecute": "./hello"})
    assert outcome.message == "Enable succeeded: \n[stdout]\nhello\n\n[stderr]\n"


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("hello.sh.gz", ()),
        ("hello", encoded_as(content_type="application/gzip")),
        ("hello", encoded_as("gzip", content_type="application/x-gzip")),
        ("hello.tar.GZ", encoded_as("x-gzip", content_type="application/x-tar")),
        ("hello.tgz", encoded_as("gzip")),
        ("hello", encoded_as("")),
        ("hello", encoded_as("identity")),
        ("hello", encoded_as("utf-8")),
        ("hello", encoded_as("aws-chunked", "")),
    ],
    ids=["name", "type", "type twice", "name and old name", "tgz", "empty", "identity", "a charset", "framing"],
)
def test_a_file_that_is_a_gzip_itself_stays_as_it_is(
    machine: Machine, server: Server, name: str, headers: tuple[tuple[str, str], ...]
) -> None:
    server.answers = {f"/{name}": [Answer(body=GZIP, headers=headers)]}
    outcome = machine.enable(1, {"fileUris": [server.url(f"/{name}")], "commandToExecute": "true"})
    assert outcome.state == "success", outcome.message
    assert (machine.download_folder(1) / name).read_bytes() == GZIP


@pytest.mark.parametrize(
    ("codings", "body", "reason"),
    [
        (("br",), HELLO, "the server sends it in Content-Encoding 'br', although it was asked not to"),
        (("zstd",), HELLO, "the server sends it in Content-Encoding 'zstd'"),
        (("gzip, gzip",), HELLO, "the server sends it in Content-Encoding 'gzip, gzip'"),
        (("deflate", "gzip"), HELLO, "the server sends it in Content-Encoding 'deflate, gzip'"),
        (("gzip",), HELLO, "the server says Content-Encoding: gzip, and what it sends is none"),
        (("gzip",), GZIP + b"<html>", "the server says Content-Encoding: gzip, and what it sends is none"),
        (("gzip",), GZIP[:-8] + bytes(8), "the server says Content-Encoding: gzip, and what it sends is none"),
        (("deflate",), b"\xff" + HELLO, "the server says Content-Encoding: deflate, and what it sends is none"),
        (("deflate",), RAW_DEFLATE * 2, "the server says Content-Encoding: deflate, and what it sends is none"),
    ],
    ids=["br", "zstd", "twice", "two headers", "text", "more behind it", "checksum", "no deflate", "two deflates"],
)
def test_a_body_that_cannot_be_unpacked_is_refused_at_once(
    machine: Machine, server: Server, codings: tuple[str, ...], body: bytes, reason: str
) -> None:
    server.answers = {"/x": [Answer(body=body, headers=encoded_as(*codings))]}
    outcome = machine.enable(1, {"fileUris": [server.url("/x?sig=secret")], "commandToExecute": "true"})
    assert (outcome.code, outcome.state) == (0, "error")
    assert f"failed to download file[0] of fileUris: {reason}" in outcome.message
    assert outcome.message.endswith("(attempts: 1)")
    assert "secret" not in outcome.message
    assert list(machine.download_folder(1).iterdir()) == []


def test_a_body_that_is_meant_to_fill_the_disk_is_given_up_long_before(machine: Machine, server: Server) -> None:
    server.answers = {"/x": [Answer(body=gzip.compress(bytes(100 << 20)), headers=encoded_as("gzip"))]}
    outcome = machine.enable(1, {"fileUris": [server.url("/x")], "commandToExecute": "true"})
    assert "it unpacks to more than 100 times its size, " in outcome.message
    assert int(outcome.message.partition("its size, ")[2].split()[0]) < 65 << 20
    assert list(machine.download_folder(1).iterdir()) == []


def test_a_compressed_body_that_is_cut_short_is_asked_for_again(machine: Machine, server: Server) -> None:
    headers = encoded_as("gzip")
    server.answers = {"/hello.sh": [Answer(body=GZIP[:-1], headers=headers), Answer(body=GZIP, headers=headers)]}
    outcome = machine.enable(1, {"fileUris": [server.url("/hello.sh")], "commandToExecute": RUN})
    assert outcome.state == "success"
    assert f"attempt=1 reason=the answer was cut short: {len(GZIP) - 1} bytes are no whole gzip" in machine.log


@pytest.mark.parametrize(
    ("size", "limits", "reason"),
    [
        (1 << 20, {"size_bytes": 1 << 20}, ""),
        ((1 << 20) + 1, {"size_bytes": 1 << 20}, "it unpacks to more than 1048576 bytes"),
        (1 << 20, {"ratio": 10, "ratio_from_bytes": 1 << 20}, ""),
        ((1 << 20) + 1, {"ratio": 10, "ratio_from_bytes": 1 << 20}, "it unpacks to more than 10 times its size"),
    ],
)
def test_what_a_body_unpacks_to_has_limits(size: int, limits: dict[str, int], reason: str) -> None:
    # Not through a server: the real limit on the size is one of GiB.
    program = (
        "import json, sys, zlib; from custom_script.content_coding import *\n"
        "size, limits = json.loads(sys.argv[1])\n"
        "decoder = Decoder('deflate', Limits(**limits))\n"
        "try: print(sum(map(len, decoder.decode(zlib.compress(bytes(size))))) + sum(map(len, decoder.end())))\n"
        "except CodingError as error: print(error)\n"
    )
    argument = json.dumps([size, limits])
    run = [sys.executable, "-B", "-c", program, argument]
    printed = subprocess.run(run, cwd=SOURCE, check=True, capture_output=True, text=True).stdout
    assert printed.startswith(reason or f"{size}\n")
