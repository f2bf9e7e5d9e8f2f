"""The names that a control plane's certificate is good for."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane import certificates
from control_plane.errors import ControlPlaneError


def test_the_certificate_names_loopback_and_what_else_is_wanted(tmp_path: Path) -> None:
    made = certificates.make(tmp_path / "keys", ("10.0.2.2", "api.example", "localhost"))

    wanted = ("127.0.0.1", "localhost", "10.0.2.2", "api.example")
    assert certificates.lacks(made.server.certificate, wanted) == []
    assert certificates.lacks(made.server.certificate, ("10.0.2.3",)) == ["10.0.2.3"]


def test_keys_that_are_there_are_used_on_unless_they_lack_a_name(tmp_path: Path) -> None:
    before = certificates.make(tmp_path / "keys", ("10.0.2.2",)).server.certificate.read_bytes()

    assert certificates.make(tmp_path / "keys").server.certificate.read_bytes() == before
    with pytest.raises(ControlPlaneError, match=r"does not name 10\.0\.2\.3"):
        certificates.make(tmp_path / "keys", ("10.0.2.2", "10.0.2.3"))


def test_what_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match="neither an address nor a name"):
        certificates.make(tmp_path / "keys", ("größe",))
    assert not (tmp_path / "keys").exists()
