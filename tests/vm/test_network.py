"""A boot without a network: what needs none is done at once, and the rest when the network is there."""

from __future__ import annotations

import pytest

from support.waiting import eventually
from vm.site import LONG_S, Site, once

pytestmark = pytest.mark.timeout(3600)

#: On the console, since there is no other way out of a machine without a network.
REPORTS = """
echo "TRACER again, network-online.target is $(systemctl is-active network-online.target)" > /dev/ttyS0
report success "enabled again"
"""


def test_a_boot_without_network_does_at_once_what_needs_none(site: Site) -> None:
    site.offer("Offline", "1.0.0")
    site.does("enable", once("sleep 1000", REPORTS))
    site.declare("offline", "Offline")
    site.wait_began("1.0.0 enable")
    before = site.machine.boot()
    site.machine.cut_power()

    site.machine.start(linked=False)
    eventually(lambda: "TRACER again" in site.machine.console(), "the enable was not begun again", timeout_s=900)

    # It did not wait for systemd to give up on the network, which takes two minutes.
    assert "network-online.target is inactive" in site.machine.console()
    site.machine.link(on=True)
    site.machine.wait_for_boot(after=before)
    site.api.wait_ready("offline", timeout_s=LONG_S)
