"""The agent's configuration: what is wrong with it is said in one line that names file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmext_agent import config
from vmext_agent.errors import ConfigurationError

GOOD: dict[str, Any] = {
    "server": "https://127.0.0.1:6443",
    "caFile": "/etc/vmext/ca.crt",
    "tokenFile": "/etc/vmext/token",
    "namespace": "default",
    "name": "web-1",
    "goalState": "web-1-0123456789ab",
}


def load(tmp_path: Path, document: object) -> config.Config:
    path = tmp_path / "agent.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return config.load(str(path))


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("https://127.0.0.1:6443", "127.0.0.1", 6443),
        ("https://api.example.org", "api.example.org", 443),
        ("https://api.example.org/", "api.example.org", 443),
        ("https://[::1]:6443", "::1", 6443),
        ("https://[::1]", "::1", 443),
    ],
)
def test_addresses_are_understood(tmp_path: Path, server: str, host: str, port: int) -> None:
    found = load(tmp_path, {**GOOD, "server": server})

    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", "http://127.0.0.1:6443"),
        ("server", "https://"),
        ("server", "https://a/b"),
        ("server", "https://a:99999"),
        ("server", "https://a:b"),
        ("server", 3),
        ("caFile", "ca.crt"),
        ("tokenFile", None),
        ("namespace", "a/b"),
        ("name", "../x"),
        ("goalState", "../x"),
        ("name", ""),
        ("proxy", "http://proxy"),
        ("proxy", {"https_proxy": 1}),
        ("proxy", {"ftp_proxy": "http://proxy"}),
        ("stallSeconds", "1"),
        ("stallSeconds", -1),
        ("stallSeconds", True),
        ("commandSeconds", {"reboot": 1}),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {**GOOD, key: value})

    assert str(tmp_path / "agent.json") in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agent\.json: is not"):
        load(tmp_path, content)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist; write it"):
        config.load(str(tmp_path / "agent.json"))
