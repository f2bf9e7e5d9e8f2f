"""What a machine's owner lets run: the file's form, its rules, and when it is read again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vmext_agent import policy

URL = "https://packages.example.com/p.zip"


def rules(**parts: Any) -> policy.Policy:
    return policy.parse(json.dumps({"version": 1, **parts}).encode())


def write(root: Path, content: bytes, mode: int = 0o644) -> Path:
    path = root / policy.PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


# -- who may run


def test_without_rules_everything_is_allowed() -> None:
    assert rules().forbids("A.B", [URL]) == ""
    assert rules(handlers={}, publishers={}, downloads={}).forbids("A.B", [URL]) == ""


def test_who_is_denied_is_out_though_it_is_allowed_too() -> None:
    found = rules(handlers={"allow": ["A.B"], "deny": ["a.b"]})

    assert "handlers.deny" in found.forbids("A.B", [])
    assert "/etc/vmext/policy.json" in found.forbids("A.B", [])


def test_a_denied_publisher_takes_its_handlers_along() -> None:
    found = rules(publishers={"deny": ["microsoft.Azure"]}, handlers={"allow": ["Microsoft.Azure.X"]})

    assert "publishers.deny" in found.forbids("Microsoft.Azure.X", [])


def test_a_publisher_is_all_before_the_last_dot() -> None:
    found = rules(publishers={"deny": ["Microsoft"]})

    assert found.forbids("Microsoft.Azure.X", []) == ""
    assert found.forbids("Microsoft.X", []) != ""


@pytest.mark.parametrize(
    ("handler", "allowed"),
    [("A.B", True), ("a.b", True), ("P.Q.X", True), ("A.C", False), ("P.X", False), ("A", False)],
)
def test_where_anybody_is_allowed_nobody_else_is(handler: str, allowed: bool) -> None:
    found = rules(handlers={"allow": ["A.B"]}, publishers={"allow": ["p.q"]})

    assert (found.forbids(handler, []) == "") == allowed


@pytest.mark.parametrize("part", ["handlers", "publishers"])
def test_an_empty_list_of_who_is_allowed_allows_nobody(part: str) -> None:
    assert rules(**{part: {"allow": []}}).forbids("A.B", []) != ""


# -- where packages may come from


@pytest.mark.parametrize(
    ("host", "url", "allowed"),
    [
        ("example.com", "https://example.com/p", True),
        ("EXAMPLE.com.", "https://example.COM./p", True),
        ("example.com", "https://a.example.com/p", False),
        ("example.com", "https://example.com.evil/p", False),
        ("example.com", "https://notexample.com/p", False),
        ("example.com", "https://example.com@evil/p", False),
        ("example.com", "https://user:secret@example.com:444/p", True),
        ("example.com", "https://evil/?example.com", False),
        ("example.com", "https://evil\\@example.com/p", True),
        ("example.com", "https://example.com\\@evil/p", False),
        ("example.com", "file:///etc/passwd", False),
        ("example.com", "/p", False),
        ("example.com", "https:///p", False),
        ("example.com", "https://[example.com/p", False),
        ("example.com", "https://example.com:x/p", False),
        ("*.example.com", "https://a.b.example.com/p", True),
        ("*.example.com", "https://example.com/p", False),
        ("*.example.com", "https://.example.com/p", False),
        ("*.example.com", "https://aexample.com/p", False),
        ("*.example.com", "https://notanexample.com/p", False),
        ("example.com:8080", "http://example.com:8080/p", True),
        ("example.com:8080", "http://example.com/p", False),
        ("example.com:80", "http://example.com/p", True),
        ("example.com:443", "HTTPS://example.com/p", True),
        ("example.com:443", "http://example.com/p", False),
        ("*.example.com:8080", "http://a.example.com:8080/p", True),
        ("10.0.0.7", "http://10.0.0.7:1/p", True),
        ("[fd00::1]:8080", "http://[FD00::1]:8080/p", True),
        ("[fd00::1]:8080", "http://[fd00::1]/p", False),
        ("[fd00::1]", "http://[fd00::1]:1/p", True),
        ("fd00::1", "http://[fd00::1]/p", True),
    ],
)
def test_a_host_is_matched_as_a_whole(host: str, url: str, allowed: bool) -> None:
    assert rules(downloads={"hosts": [host]}).allowed_urls([url]) == ((url,) if allowed else ())


def test_addresses_that_are_not_allowed_are_left_out_and_the_rest_keep_their_order() -> None:
    found = rules(downloads={"hosts": ["a", "b"]})

    assert found.allowed_urls(["http://b/", "http://c/", "http://a/"]) == ("http://b/", "http://a/")
    assert found.forbids("A.B", ["http://b/", "http://c/"]) == ""


def test_where_no_address_is_left_the_hosts_are_named_and_nothing_secret() -> None:
    why = rules(downloads={"hosts": ["a"]}).forbids("A.B", ["http://user:hunter2@c/p?sig=hunter2", "http://d:81/"])

    assert "c, d:81" in why
    assert "downloads.hosts" in why
    assert "hunter2" not in why


def test_an_empty_list_of_hosts_allows_no_download() -> None:
    assert rules(downloads={"hosts": []}).forbids("A.B", [URL]) != ""


# -- the file's form


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 60_000, "JSON"),
        (b"[]", "object"),
        (b"{}", "version"),
        (b'{"version": 2}', "version"),
        (b'{"version": true}', "version"),
        (b'{"version": "1"}', "version"),
        (b'{"version": 1, "handler": {}}', "handler"),
        (b'{"version": 1, "handlers": {"alow": []}}', "handlers.alow"),
        (b'{"version": 1, "handlers": []}', "handlers"),
        (b'{"version": 1, "handlers": {"deny": "A.B"}}', "handlers.deny"),
        (b'{"version": 1, "handlers": {"deny": [1]}}', "handlers.deny"),
        (b'{"version": 1, "handlers": {"deny": [" "]}}', "handlers.deny"),
        (b'{"version": 1, "publishers": {"allow": null}}', "publishers.allow"),
        (b'{"version": 1, "downloads": {"allow": []}}', "downloads.allow"),
        (b'{"version": 1, "signatures": {"require": "yes"}}', "signatures.require"),
        (b'{"version": 1, "signatures": {"require": 1}}', "signatures.require"),
        (b'{"version": 1, "signatures": {"required": true}}', "signatures.required"),
        (b'{"version": 1, "signatures": true}', "signatures"),
        (b'{"version": 1, "version": 1}', "twice"),
        (b'{"version": 1, "handlers": {"deny": ["A.B"], "deny": []}}', "twice"),
        (b'{"version": 1, "downloads": {"hosts": ["https://example.com/"]}}', "downloads.hosts"),
        (b'{"version": 1, "downloads": {"hosts": ["*"]}}', "downloads.hosts"),
        (b'{"version": 1, "downloads": {"hosts": ["a.*.example.com"]}}', "downloads.hosts"),
        (b'{"version": 1, "downloads": {"hosts": ["example.com:0"]}}', "downloads.hosts"),
        (b'{"version": 1, "downloads": {"hosts": ["example.com:https"]}}', "downloads.hosts"),
        (b'{"version": 1, "downloads": {"hosts": ["example.com:99999"]}}', "downloads.hosts"),
    ],
)
def test_what_is_misspelt_makes_all_of_it_invalid_and_is_named(content: bytes, named: str) -> None:
    with pytest.raises(policy.PolicyError, match=named):
        policy.parse(content)


# -- the file


def test_without_a_file_everything_is_allowed(tmp_path: Path) -> None:
    found = policy.load(str(tmp_path))

    assert found.invalid == ""
    assert found.forbids("A.B", [URL]) == ""


def test_an_invalid_file_allows_nothing_new_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, b'{"version": 1, "handler": {}}')

    found = policy.load(str(tmp_path))

    assert "handler" in found.invalid
    assert found.invalid in found.forbids("A.B", [URL])
    assert "/etc/vmext/policy.json" in found.forbids("A.B", [])
    assert found.allowed_urls([URL]) == ()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_invalid(tmp_path: Path, mode: int) -> None:
    write(tmp_path, b'{"version": 1}', mode)

    assert "write" in policy.load(str(tmp_path)).invalid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_invalid(tmp_path: Path) -> None:
    os.chown(write(tmp_path, b'{"version": 1}'), 65534, 0)

    invalid = policy.load(str(tmp_path)).invalid

    assert "belongs to" in invalid
    assert "write" not in invalid


def test_what_is_no_file_is_invalid(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"version": 1}')
    path.rename(path.with_name("other.json"))
    path.symlink_to("other.json")
    assert "regular file" in policy.load(str(tmp_path)).invalid
    path.unlink()
    os.mkfifo(path)
    assert "regular file" in policy.load(str(tmp_path)).invalid
    path.unlink()
    path.parent.joinpath("other.json").unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where the folder should be")
    assert policy.load(str(tmp_path)).invalid


def test_a_file_that_is_too_large_is_invalid(tmp_path: Path) -> None:
    write(tmp_path, b'{"version": 1}' + b" " * (64 << 10))

    assert "larger than" in policy.load(str(tmp_path)).invalid


# -- changes


def test_the_same_value_is_handed_out_until_the_file_changes(tmp_path: Path) -> None:
    watch = policy.Watch(str(tmp_path))
    nothing = watch.current()
    path = write(tmp_path, b'{"version": 1, "handlers": {"deny": ["A.B"]}}')
    denied = watch.current()

    assert nothing.forbids("A.B", []) == ""
    assert denied.forbids("A.B", []) != ""
    assert watch.current() is denied
    path.unlink()
    assert watch.current().forbids("A.B", []) == ""


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"version": 1, "handlers": {"deny": ["A.B"]}}')
    times = path.stat()
    watch = policy.Watch(str(tmp_path))
    watch.current()
    while path.stat().st_ctime_ns == times.st_ctime_ns:
        path.write_bytes(b'{"version": 1, "handlers": {"deny": ["A.C"]}}')
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert watch.current().forbids("A.B", []) == ""
    assert watch.current().forbids("A.C", []) != ""


def test_that_others_may_write_it_now_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"version": 1}')
    watch = policy.Watch(str(tmp_path))
    assert watch.current().invalid == ""
    path.chmod(0o666)

    invalid = watch.current()
    assert invalid.invalid != ""
    assert watch.current() is invalid


def test_a_folder_that_can_not_be_looked_into_is_not_taken_for_no_policy(tmp_path: Path) -> None:
    watch = policy.Watch(str(tmp_path))
    assert watch.current().invalid == ""
    (tmp_path / "etc").write_text("a file where the folder should be")

    assert watch.current().invalid != ""


def test_keys_are_found_by_their_publisher_and_a_change_of_one_is_seen(tmp_path: Path) -> None:
    watch = policy.Watch(str(tmp_path))
    assert watch.current() == policy.Policy()
    key = tmp_path / policy.KEYS / "VMExt" / "2026.pem"
    key.parent.mkdir(parents=True)
    key.write_text("a key")

    found = watch.current()

    assert [(one.publisher, one.file) for one in found.keys] == [("vmext", str(key))]
    assert watch.current() is found
    key.unlink()
    assert watch.current() == policy.Policy()


def test_a_key_that_others_may_write_lets_nothing_run(tmp_path: Path) -> None:
    key = tmp_path / policy.KEYS / "VMExt" / "2026.pem"
    key.parent.mkdir(parents=True)
    key.write_text("a key")
    key.chmod(0o666)

    assert f"{key} is open to its group or others" in policy.load(str(tmp_path)).invalid
    assert policy.Watch(str(tmp_path)).current().invalid
