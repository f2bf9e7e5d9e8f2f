"""The agent as systemd's service: what it runs, what it shows, and what its own ends do to commands."""

from __future__ import annotations

import pytest

from development.house import extension
from vm.site import LONG_S, Site

pytestmark = pytest.mark.timeout(3600)


def test_an_extension_becomes_ready(site: Site) -> None:
    settings = {"commandToExecute": "cat /etc/debian_version"}
    site.api.apply(extension("hello", site.machine.name, settings=settings))

    ready = site.api.wait_ready("hello", timeout_s=LONG_S)

    version = site.machine.read("/etc/debian_version").decode().strip()
    assert version in str(ready["status"]["statuses"])
