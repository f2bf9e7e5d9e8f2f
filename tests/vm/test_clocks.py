"""A machine whose clock is wrong or missing: what is timed goes by how long it took, and nothing waits for a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from virtual_machine import NO_RTC
from vm.site import LONG_S, Site, once

pytestmark = pytest.mark.timeout(3600)

FUTURE = "2040-01-01T00:00:00"
SLEEPS = "sleep 1000"
DONE = 'report success "enabled again"'


def renewed(site: Site) -> str:
    """Return when the machine's Lease was renewed last."""
    found: dict[str, Any] = site.api.request(
        "GET", f"/apis/coordination.k8s.io/v1/namespaces/{site.api.namespace}/leases/vmext-vm-{site.machine.name}"
    )
    return str(found["spec"]["renewTime"])


def begin_and_lose_power(site: Site, name: str) -> str:
    """Lose power in the middle of an enable; return what names the boot before."""
    type_ = name.capitalize()
    site.offer(type_, "1.0.0")
    site.does("enable", once(SLEEPS, DONE))
    site.declare(name, type_)
    site.wait_began("1.0.0 enable")
    before = site.machine.boot()
    site.machine.cut_power()
    return before


def begun_twice(site: Site) -> Callable[[], bool]:
    return lambda: site.order().count("1.0.0 enable") == 2


def test_a_clock_that_was_far_ahead_at_boot_and_is_set_back_stops_nothing(site: Site) -> None:
    before = begin_and_lose_power(site, "ahead")
    site.machine.start(clock=FUTURE)
    site.machine.wait_for_boot(after=before)
    # The API server's certificate has ended by this clock; what was cut off needs no API server.
    site.eventually(begun_twice(site), "the enable was not begun again by a clock that is ahead")
    seen = renewed(site)

    site.machine.set_clock(time.time())

    site.eventually(lambda: renewed(site) != seen, "the Lease is not renewed after the clock was set back")
    site.api.wait_ready("ahead", timeout_s=LONG_S)
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]
    site.declare("ahead", "Ahead", settings={"a": 1})
    site.api.wait_ready("ahead", timeout_s=LONG_S)


def test_a_clock_that_is_set_back_while_the_agent_runs_stops_nothing(site: Site) -> None:
    site.machine.set_clock(time.time() + 86_400 * 365)
    site.machine.run(["systemctl", "restart", "vmext-agent"])
    site.offer("Back", "1.0.0")
    site.declare("back", "Back")
    site.api.wait_ready("back", timeout_s=LONG_S)

    site.machine.set_clock(time.time())

    seen = renewed(site)
    site.eventually(lambda: renewed(site) != seen, "the Lease is not renewed after the clock was set back")
    site.declare("back", "Back", settings={"a": 1})
    site.api.wait_ready("back", timeout_s=LONG_S)


def test_a_machine_without_a_hardware_clock_begins_an_enable_again_and_is_ready_once_the_time_is_known(
    site: Site,
) -> None:
    before = begin_and_lose_power(site, "without")
    site.machine.start(clock=NO_RTC)
    site.machine.wait_for_boot(after=before)
    site.eventually(begun_twice(site), "the enable was not begun again without a hardware clock")

    site.machine.set_clock(time.time())

    site.api.wait_ready("without", timeout_s=LONG_S)
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]
