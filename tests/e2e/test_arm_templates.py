"""ARM templates of growing difficulty: converted, applied by kubectl, carried out on machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from development.api import Object
from development.house import House, agent_service
from development.operator_process import ROOT
from support.guests import skipping
from support.plugin import Plugin

TEMPLATES = ROOT / "examples" / "arm"
CANARY = "correct-horse-battery-staple"


@pytest.fixture
def typed(home: House) -> Plugin:
    """The plugin, on the house."""
    return Plugin(home.cluster.kubeconfig, home.api.namespace)


@pytest.fixture(scope="module")
def probe(home: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the templates call Example.Monitoring.Probe: the script runner by another name."""
    source = tmp_path_factory.mktemp("probe") / "Probe"
    shutil.copytree(ROOT / "extensions" / "CustomScript", source)
    entry = yaml.safe_load((source / "extension.yaml").read_text())
    entry |= {"publisher": "Example.Monitoring", "type": "Probe", "version": "1.0.0"}
    (source / "extension.yaml").write_text(yaml.safe_dump(entry))
    home.add_packages(source)


def boot(home: House, typed: Plugin, name: str) -> None:
    """Boot a guest for a machine that is declared, and enrol it by what the plugin prints."""
    with skipping():
        guest = home.add_guest(name)
    guest.run(["sh", "-c", typed.good("enroll", name).out])
    guest.start_service(agent_service())


def apply(home: House, text: str) -> list[Object]:
    home.cluster.kubectl("apply", "-n", home.api.namespace, "-f", "-", input=text)
    return [one for one in yaml.safe_load_all(text) if one]


def test_a_script_on_an_existing_machine(home: House, typed: Plugin, vm: str) -> None:
    made = typed.good("convert", str(TEMPLATES / "1-a-script-on-a-machine.json"), "-p", f"vmName={vm}")
    assert "the catalog has no Microsoft.Azure.Extensions.CustomScript; VMExt.CustomScript is taken instead" in made.err
    apply(home, made.out)
    home.api.wait_ready(f"{vm}-hello", timeout_s=60)
    assert home.guests[vm].read("/root/hello.txt") == b"hello\n"


@pytest.mark.usefixtures("probe")
def test_a_machine_with_its_network_and_two_extensions_in_order(home: House, typed: Plugin) -> None:
    words = ("-p", f"adminPassword={CANARY}", "--location", "West Europe")
    made = typed.good("convert", str(TEMPLATES / "2-a-machine-with-its-network.json"), *words)
    assert CANARY not in made.out + made.err
    assert "left out: 1 Microsoft.Network/networkInterfaces, 1 Microsoft.Network/publicIPAddresses" in made.err
    apply(home, made.out)
    boot(home, typed, "simple-linux-vm")

    home.api.wait_ready("simple-linux-vm-monitoring", timeout_s=90)
    home.api.wait_ready("simple-linux-vm-setup", timeout_s=60)
    order = home.guests["simple-linux-vm"].read("/root/order.txt").decode().splitlines()
    assert order == ["setup of SIMPLE-LINUX-VM", "monitoring"]


@pytest.mark.usefixtures("probe")
def test_a_set_of_machines_with_a_secret_for_each(home: House, typed: Plugin, tmp_path: Path) -> None:
    template = str(TEMPLATES / "3-a-set-of-machines.json")
    (tmp_path / "p.json").write_text(json.dumps({"parameters": {"databasePassword": {"value": CANARY}}}))
    words = ("--parameters", f"@{tmp_path}/p.json", "-l", "westeurope")

    unasked = typed.run("convert", template, *words)
    assert unasked.code == 8
    assert "lost: Secrets of protected settings: node-1-database-protected, node-2-database-protected" in unasked.err
    made = typed.good("convert", template, *words, "--secrets-file", f"{tmp_path}/secrets.yaml")
    for said in (unasked, made):
        assert CANARY not in said.out + said.err
    assert made.out == unasked.out
    assert (tmp_path / "secrets.yaml").stat().st_mode & 0o777 == 0o600

    apply(home, (tmp_path / "secrets.yaml").read_text())
    apply(home, made.out)
    for number, role in ((1, "primary"), (2, "replica")):
        name = f"node-{number}"
        boot(home, typed, name)
        home.api.wait_ready(f"{name}-database", timeout_s=120)
        home.api.wait_ready(f"{name}-probe", timeout_s=60)
        guest = home.guests[name]
        assert guest.read(f"/root/seen-by-{name}").decode().split() == [role, CANARY, f"{number - 1:02}"]
