"""docs/operations/install.md on how to remove everything, done word by word: with a machine that is off, and without an
operator.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

import charts
import control_plane
import helm as program
from development.house import extension
from development.operator_process import ROOT
from development.pod import PodUnavailableError
from support import chart_house
from support.chart_house import NAMESPACE, RELEASE, ChartHouse
from support.guests import skipping
from support.waiting import eventually

PAGE = ROOT / "docs" / "operations" / "install.md"
HANDLER = "/var/lib/waagent/VMExt.CustomScript-2.1.0"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartHouse]:
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("an existing cluster may have vmext installed, and that is not removed from it")
    with chart_house.running(tmp_path_factory.mktemp("chart-house"), program.obtain(print)) as running:
        yield running


def boxes(heading: str) -> list[str]:
    """Return the commands that stand under a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [re.sub(r"^   ", "", box, flags=re.MULTILINE) for box in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


def do(home: ChartHouse, commands: str, **names: str) -> None:
    """Run commands of the page as a person would, who has put in names."""
    for name, other in ({"vmext-system": NAMESPACE, "charts/": f"{charts.ROOT}/"} | names).items():
        commands = commands.replace(name, other)
    folders = (control_plane.obtain(print).kubectl.parent, home.helm.program.parent)
    environment = {
        "PATH": os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"]),
        "HOME": str(home.folder),
        "KUBECONFIG": str(home.cluster.kubeconfig),
    }
    done = subprocess.run(
        ["sh", "-euc", commands], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


def install(home: ChartHouse) -> None:
    for line in boxes("Install")[0].splitlines():
        do(home, line, **{"https://packages.example.com/vmext": home.url})
    try:
        home.roll_out()
    except PodUnavailableError as error:
        pytest.skip(str(error))


def names(home: ChartHouse, *kinds: str) -> str:
    return home.cluster.kubectl("get", ",".join(kinds), "--all-namespaces", "-o", "name")


def test_everything_can_be_removed_also_from_under_a_machine_that_is_off(home: ChartHouse) -> None:
    install(home)
    with skipping():
        machines = [home.add_machine(name) for name in ("there", "away")]
    for guest in machines:
        home.api.apply(extension(guest.name, guest.name, settings={"commandToExecute": "true"}))
        home.api.wait_ready(guest.name, timeout_s=60)
        assert guest.exists(HANDLER)
    machines[1].stop()

    shorten, delete, rest = boxes("Remove everything")
    do(home, shorten, NAMESPACE=home.api.namespace, NAME="away", **{'"1m"': '"3s"'})
    do(home, delete)
    assert names(home, "vmx", "xvm", "goal") == ""
    assert not machines[0].exists(HANDLER)
    events = home.cluster.kubectl("get", "events", "-n", home.api.namespace, "-o", "jsonpath={.items[*].message}")
    assert "left on" in events or "stays on" in events, events

    do(home, rest)
    home.stop_pods()
    left = home.cluster.kubectl("get", "crd,clusterrole,validatingadmissionpolicy,namespace", "-o", "name")
    assert "vmext" not in left


def test_a_finalizer_that_is_left_can_be_let_go_of(home: ChartHouse) -> None:
    install(home)
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "web-1"}})
    home.api.apply(extension("x", "web-1"))
    eventually(lambda: "finalizers" in (home.api.get("VirtualMachineExtension", "x") or {})["metadata"])
    home.helm.run("uninstall", RELEASE, "-n", NAMESPACE)
    home.stop_pods()
    for kind, name in (("VirtualMachineExtension", "x"), ("VirtualMachine", "web-1")):
        home.api.delete(kind, name)
    assert "virtualmachineextension.vmext.dev/x" in names(home, "vmx")

    (way_out,) = boxes("The way out when a finalizer is left")
    do(home, way_out)
    assert names(home, "vmx", "xvm") == ""
