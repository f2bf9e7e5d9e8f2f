"""Packages that are served beside a control plane, until that is stopped."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from control_plane.background import Named


def fetched(port: int, name: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/{name}", timeout=30) as answer:
        content: bytes = answer.read()
        return content


def test_packages_are_served_by_one_server_until_the_control_plane_is_stopped(tmp_path: Path) -> None:
    named, packages = Named("served", tmp_path / "planes"), tmp_path / "packages"
    try:
        port = named.serve(packages)
        (packages / "a.zip").write_bytes(b"content")

        assert fetched(port, "a.zip") == b"content"
        assert named.serve(packages) == port
    finally:
        named.stop()

    with pytest.raises(urllib.error.URLError):
        fetched(port, "a.zip")
