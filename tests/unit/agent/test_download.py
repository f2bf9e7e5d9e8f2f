"""Downloads from addresses in turn, through redirects and proxies, from a server of the test's own."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from vmext_agent import download, packages
from vmext_agent.errors import PackageError

CONTENT = b"a package" * 1000
BODIES = {"right": CONTENT, "short": gzip.compress(CONTENT), "long": CONTENT * 2, "other": CONTENT[::-1]}
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /p; /to/N redirects N times; an absolute address is a proxy's request."""

    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        if self.path.startswith("/to/"):
            left = int(self.path.rpartition("/")[2]) - 1
            self.send_response(302)
            self.send_header("Location", f"/to/{left}" if left else "/p")
            self.end_headers()
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path.startswith("/as/"):
            coding, _, body = self.path[len("/as/") :].partition("/")
            self.send_response(200)
            self.send_header("Content-Encoding", coding)
            self.end_headers()
            self.wfile.write(BODIES[body])
        elif self.path == "/p" or self.path.startswith("http://"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(
    tmp_path: Path,
    *urls: str,
    sha256: str = SHA256,
    proxy: Mapping[str, str] | None = None,
    allows: Callable[[str], bool] = lambda _url: True,
) -> bytes:
    path = tmp_path / "p.zip"
    download.fetch(urls, sha256, len(CONTENT), str(path), download.Limits(2.0, 2.0, proxy or {}, allows))
    return path.read_bytes()


def test_addresses_are_tried_in_turn(tmp_path: Path, server: Server) -> None:
    assert fetch(tmp_path, "http://127.0.0.1:1/p", f"{server.url}/none", f"{server.url}/p") == CONTENT


def test_the_next_address_may_have_the_right_content(tmp_path: Path, server: Server) -> None:
    other = hashlib.sha256(b"x").hexdigest()

    with pytest.raises(PackageError, match=f"expected sha256 {other}.*is {SHA256}") as caught:
        fetch(tmp_path, f"{server.url}/p", "http://127.0.0.1:1/p", sha256=other)

    assert caught.value.reason == "ChecksumMismatch"
    assert not (tmp_path / "p.zip").exists()


def test_five_redirects_are_followed_and_no_more(tmp_path: Path, server: Server) -> None:
    assert fetch(tmp_path, f"{server.url}/to/5") == CONTENT

    with pytest.raises(PackageError, match="redirects more than 5 times"):
        fetch(tmp_path, f"{server.url}/to/6")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/p", "http://", "/p", "", "http://[", "http://h/a b", "http://h:99999999/p"]
)
def test_what_is_no_address_is_named_and_not_followed(tmp_path: Path, url: str) -> None:
    with pytest.raises(PackageError) as caught:
        fetch(tmp_path, url)

    assert caught.value.reason == "DownloadFailed"


def test_a_redirect_leads_nowhere_but_to_http(tmp_path: Path, server: Server) -> None:
    with pytest.raises(PackageError, match="only http and https are allowed"):
        fetch(tmp_path, f"{server.url}/elsewhere")


def test_a_proxy_is_asked_for_the_whole_address(tmp_path: Path, server: Server) -> None:
    proxy = {"http_proxy": server.url, "no_proxy": "other.test"}

    assert fetch(tmp_path, "http://packages.test/p.zip?a=1", proxy=proxy) == CONTENT
    assert server.seen == ["http://packages.test/p.zip?a=1"]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "a.test, 127.0.0.1", "*"])
def test_a_proxy_is_left_out_where_the_configuration_says_so(tmp_path: Path, server: Server, no_proxy: str) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:1", "no_proxy": no_proxy}

    assert fetch(tmp_path, f"{server.url}/p", proxy=proxy) == CONTENT


def test_user_password_and_query_of_an_address_are_not_told(tmp_path: Path) -> None:
    with pytest.raises(PackageError) as caught:
        fetch(tmp_path, "http://user:canary@127.0.0.1:1/p?sig=canary")

    assert "canary" not in str(caught.value)
    assert "http://127.0.0.1:1/p" in str(caught.value)


def test_a_package_that_there_is_no_room_for_is_not_even_begun(tmp_path: Path, server: Server) -> None:
    instructions = packages.Instructions(
        [f"{server.url}/p"],
        SHA256,
        1 << 60,
        str(tmp_path / "p.zip"),
        str(tmp_path / "A.B-1"),
        2.0,
        2.0,
        {},
        str(tmp_path),
    )

    with pytest.raises(PackageError, match="bytes are free") as caught:
        packages.get_ready(instructions)

    assert caught.value.reason == "DiskFull"
    assert server.seen == []


def test_a_host_that_policy_does_not_allow_is_not_asked(tmp_path: Path, server: Server) -> None:
    with pytest.raises(PackageError, match="policy allows"):
        fetch(tmp_path, f"{server.url}/p", allows=lambda _url: False)

    assert server.seen == []


def test_a_redirect_to_a_host_that_policy_does_not_allow_is_not_followed(tmp_path: Path, server: Server) -> None:
    with pytest.raises(PackageError, match="policy allows"):
        fetch(tmp_path, f"{server.url}/to/1", allows=lambda url: url.endswith("/to/1"))

    assert server.seen == ["/to/1"]


@pytest.mark.parametrize("body", ["short", "long", "other"])
def test_a_package_that_comes_compressed_unasked_is_refused_and_the_coding_named(
    tmp_path: Path, server: Server, body: str
) -> None:
    with pytest.raises(PackageError, match="Content-Encoding 'gzip', although it was asked not to") as caught:
        fetch(tmp_path, f"{server.url}/as/gzip/{body}")

    assert caught.value.reason == ("ChecksumMismatch" if body == "other" else "DownloadFailed")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "identity", "utf-8", "aws-chunked"])
def test_what_a_server_says_of_the_coding_is_nothing_against_the_checksum(
    tmp_path: Path, server: Server, coding: str
) -> None:
    assert fetch(tmp_path, f"{server.url}/as/{coding}/right") == CONTENT


def test_a_coding_that_is_none_is_not_complained_about(tmp_path: Path, server: Server) -> None:
    with pytest.raises(PackageError, match="ended after") as caught:
        fetch(tmp_path, f"{server.url}/as/identity/short")

    assert "Content-Encoding" not in str(caught.value)
