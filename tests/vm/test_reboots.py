"""Reboots in order and losses of power while a handler's command runs: what was cut off is begun again."""

from __future__ import annotations

import pytest

from development.house import extension
from vm.site import LONG_S, Site, once

pytestmark = pytest.mark.timeout(3600)

SLEEPS = "sleep 1000"
#: A handler that is told to end and says so by an exit code of its own.
ENDS_ITSELF = "trap 'kill $!; exit 1' TERM; sleep 1000 & wait"
DONE = 'report success "enabled again"'


def test_an_install_that_a_reboot_cuts_off_is_begun_again_also_where_it_ends_itself(site: Site) -> None:
    site.offer("Install", "1.0.0")
    site.does("install", once(ENDS_ITSELF))
    site.declare("install", "Install")
    site.wait_began("1.0.0 install")

    site.machine.reboot()

    site.api.wait_ready("install", timeout_s=LONG_S)
    assert site.order() == ["1.0.0 install", "1.0.0 install", "1.0.0 enable"]


def test_an_update_that_a_reboot_cuts_off_is_begun_again_and_not_rolled_back(site: Site) -> None:
    site.offer("Update", "1.0.0")
    site.offer("Update", "2.0.0")
    site.declare("update", "Update")
    site.api.wait_ready("update", timeout_s=LONG_S)
    site.does("2.0.0/update", once(SLEEPS))
    site.declare("update", "Update", typeHandlerVersion="2.0")
    site.wait_began("2.0.0 update")

    site.machine.reboot()

    ready = site.api.wait_ready("update", timeout_s=LONG_S)
    assert ready["status"]["typeHandlerVersion"] == "2.0.0"
    assert site.order().count("2.0.0 update") == 2
    assert "1.0.0 enable" not in site.order()[2:]


def test_an_enable_that_a_reboot_cuts_off_is_begun_again(site: Site) -> None:
    site.offer("Enable", "1.0.0")
    site.does("enable", once(SLEEPS, DONE))
    site.declare("enable", "Enable")
    site.wait_began("1.0.0 enable")

    site.machine.reboot()

    ready = site.api.wait_ready("enable", timeout_s=LONG_S)
    assert ready["status"]["statuses"][0]["message"] == "enabled again"
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]


def test_a_handler_that_reboots_as_its_last_act_ends_by_its_own_status(site: Site) -> None:
    site.offer("Last", "1.0.0")
    site.does("enable", once("report success done; sync status; systemctl reboot; exit 0"))
    before = site.machine.boot()
    site.declare("last", "Last")

    site.machine.wait_for_boot(after=before)

    ready = site.api.wait_ready("last", timeout_s=LONG_S)
    assert ready["status"]["statuses"][0]["message"] == "done"
    # The second is every boot's own, and no attempt at the first.
    site.wait_began("1.0.0 enable", 2)
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]
    logged = [line for line in site.log().splitlines() if "extension=last " in line]
    assert not any("attempt=2" in line or "cut off" in line for line in logged), logged


def test_a_custom_script_that_reboots_as_its_last_act_runs_once_and_is_ready(site: Site) -> None:
    before = site.machine.boot()
    script = "echo ran >> /var/once; systemctl reboot"
    site.api.apply(extension("script", site.machine.name, settings={"commandToExecute": script}))

    site.machine.wait_for_boot(after=before)

    site.api.wait_ready("script", timeout_s=LONG_S)
    assert site.machine.read("/var/once") == b"ran\n"


def test_an_enable_that_a_loss_of_power_cuts_off_is_begun_again(site: Site) -> None:
    site.offer("Power", "1.0.0")
    site.does("enable", once(SLEEPS, DONE))
    site.declare("power", "Power")
    site.wait_began("1.0.0 enable")
    before = site.machine.boot()

    site.machine.cut_power()
    site.machine.start()
    site.machine.wait_for_boot(after=before)

    site.api.wait_ready("power", timeout_s=LONG_S)
    assert site.order() == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]


def test_a_loss_of_power_leaves_no_zeros_in_the_log(site: Site) -> None:
    site.machine.run(["sync"])
    site.offer("Zeros", "1.0.0")
    site.declare("zeros", "Zeros")
    site.api.wait_ready("zeros", timeout_s=LONG_S)
    before = site.machine.boot()

    site.machine.cut_power()
    site.machine.start()
    site.machine.wait_for_boot(after=before)

    site.api.wait_ready("zeros", timeout_s=LONG_S)
    assert b"\0" not in site.machine.read("/var/log/waagent.log")
