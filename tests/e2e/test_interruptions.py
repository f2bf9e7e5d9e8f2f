"""Whatever is killed in the middle, the end is the same; and a script runs once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from demo import verdict
from development.house import AGENT, House, extension
from support.clusters import own
from support.guests import skipping
from support.waiting import eventually


def kill_operator(home: House, _vm: str) -> None:
    home.operator.kill()
    home.operator.start()


def kill_agent(home: House, vm: str) -> None:
    home.guests[vm].kill_service(AGENT, signal.SIGKILL)


def kill_worker(home: House, vm: str) -> None:
    for process in home.guests[vm].processes():
        if "worker" in process.argv and any("vmext_agent" in word for word in process.argv):
            home.guests[vm].run(["kill", "-9", str(process.inside_pid)])


def restart_api_server(home: House, _vm: str) -> None:
    cluster = own(home.cluster)
    cluster.stop_api_server()
    cluster.start_api_server()


INTERRUPTIONS = [kill_operator, kill_agent, kill_worker, restart_api_server]


@pytest.mark.parametrize("interrupt", INTERRUPTIONS)
@pytest.mark.parametrize("running", [False, True], ids=["at-once", "while-the-script-runs"])
def test_an_interruption_changes_nothing_of_the_end(
    home: House, vm: str, interrupt: Callable[[House, str], None], running: bool
) -> None:
    good = f"good-{vm}"
    home.api.apply(
        extension(good, vm, settings={"commandToExecute": f"sleep 1; echo {vm} >> /root/runs; cat /root/runs"})
    )
    if running:
        eventually(lambda: any("sleep" in process.argv for process in home.guests[vm].processes()))
    interrupt(home, vm)
    status = home.api.wait_ready(good, timeout_s=60)["status"]
    assert status["statuses"][0]["message"] == f"Enable succeeded: \n[stdout]\n{vm}\n\n[stderr]\n"
    assert home.guests[vm].read("/root/runs") == f"{vm}\n".encode()
    # What failed fails in the same words, and what succeeded stays so.
    home.api.apply(extension(good, vm, settings={"commandToExecute": "ech hello"}))
    interrupt(home, vm)
    assert not list(verdict.of_typo(home.api.wait_stalled(good, timeout_s=60)))


def test_the_result_of_a_script_that_ended_while_the_api_server_was_away_for_a_minute_arrives(
    home: House, vm: str
) -> None:
    name = f"script-{vm}"
    home.api.apply(extension(name, vm, settings={"commandToExecute": "sleep 3; echo ran >> /root/runs"}))
    eventually(lambda: any("sleep" in process.argv for process in home.guests[vm].processes()))
    own(home.cluster).stop_api_server()
    back = threading.Event()
    back.wait(60)
    assert home.guests[vm].read("/root/runs") == b"ran\n"
    own(home.cluster).start_api_server()
    home.api.wait_ready(name, timeout_s=90)
    assert home.guests[vm].read("/root/runs") == b"ran\n"


def test_a_rebooted_machine_enables_again_what_it_had(home: House, vm: str) -> None:
    name = f"script-{vm}"
    home.api.apply(extension(name, vm, settings={"commandToExecute": "echo ran >> /root/runs"}))
    first = home.api.wait_ready(name)
    home.guests[vm].reboot()
    log = "/var/log/azure/VMExt.CustomScript/CommandExecution.log"
    eventually(lambda: home.guests[vm].read(log).count(b"enable") > 1)
    # CustomScript's own mrseq keeps a script from running twice for one number.
    assert home.guests[vm].read("/root/runs") == b"ran\n"
    again = home.api.wait_ready(name)
    assert again["status"]["statuses"] == first["status"]["statuses"]


def test_a_full_disk_is_said_and_recovered_from(home: House) -> None:
    with skipping():
        guest = home.add_machine("full-disk", disk_bytes=24 << 20)
    guest.run(["sh", "-c", "cat /dev/zero > /root/ballast"], check=False)
    home.api.apply(extension("full-disk", "full-disk", settings={"commandToExecute": "echo ok"}))
    home.api.wait_stalled("full-disk", "DiskFull")
    guest.run(["rm", "/root/ballast"])
    home.api.wait_ready("full-disk", timeout_s=60)
