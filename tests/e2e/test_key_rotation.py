"""A machine changes its key under everything that runs on it: handlers that decrypt by either command see no change."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import simulated_guest
from development.api import Object, condition
from development.house import House, agent_service, extension
from kubectl_vmext import __main__ as plugin
from support import smime_handler
from support.guests import skipping
from support.waiting import eventually

PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def old_handler(home: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The catalog has a handler that knows smime alone."""
    smime_handler.add(home, tmp_path_factory.mktemp("old"), "Smime")


@pytest.fixture
def guest(home: House, old_handler: None, capsys: pytest.CaptureFixture[str]) -> simulated_guest.Guest:
    """A machine that is enrolled."""
    name = "rotated"
    with skipping():
        made = home.add_guest(name)
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    assert plugin.main(["enroll", *where, name]) == 0
    made.run(["sh", "-c", capsys.readouterr().out])
    made.start_service(agent_service())
    wait_known(home, name, but="")
    return made


def wait_known(home: House, name: str, *, but: str) -> str:
    """Wait until the operator knows a machine by another certificate, and the machine has taken that into use."""

    def known(vm: Object | None) -> str:
        return str((((vm or {}).get("status") or {}).get("credential") or {}).get("thumbprint", but))

    found = home.api.wait("VirtualMachine", name, lambda vm: known(vm) != but)
    home.api.wait("GoalState", name, lambda goal: (goal or {})["spec"].get("thumbprint") == known(found))
    return known(found)


def put_secret(home: House, name: str, document: Any) -> None:
    data = {"settings": base64.b64encode(json.dumps(document).encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    home.cluster.kubectl("apply", "-n", home.api.namespace, "-f", "-", input=json.dumps(body))


def lines(guest: simulated_guest.Guest, path: str) -> list[str]:
    try:
        return guest.read(path).decode().splitlines()
    except FileNotFoundError:
        return []


def encrypted(home: House, name: str, document: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what the plugin makes of a file, for the certificate that a machine has now."""
    (folder / "s.json").write_text(json.dumps(document))
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    capsys.readouterr()
    assert plugin.main(["encrypt", *where, "--vm", name, "--from-file", f"{folder}/s.json"]) == 0
    return yaml.safe_load(capsys.readouterr().out)["protectedSettings"]["encrypted"]


def numbers(home: House, *names: str) -> list[int]:
    return [int((home.api.get("VirtualMachineExtension", name) or {})["status"]["sequenceNumber"]) for name in names]


def test_all_is_encrypted_anew_and_nothing_runs_again(
    home: House, guest: simulated_guest.Guest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = guest.name
    put_secret(home, name, {"commandToExecute": f"echo {PASSWORD} >> /root/cms"})
    of_git = encrypted(home, name, {"from": "git"}, tmp_path, capsys)
    secret = {"secretRef": {"name": name, "key": "settings"}}
    home.api.apply(extension("script", name, protectedSettings=secret))
    old = {"publisher": "Test", "type": "Smime", "typeHandlerVersion": "1.0.0"}
    home.api.apply(extension("old", name, protectedSettings={"encrypted": of_git}, **old))
    home.api.wait_ready("script")
    home.api.wait_ready("old")
    before, given = wait_known(home, name, but=""), numbers(home, "script", "old")
    assert lines(guest, "/root/cms") == [PASSWORD]
    assert lines(guest, "/root/Smime") == [f'{before} {{"from": "git"}}']

    said = guest.run(["vmext-agent", "rotate-key"]).stdout.decode()

    after = wait_known(home, name, but=before)
    assert f"from {before} to {after}" in said
    # Of the Secret, the operator makes another envelope; nothing runs for it.
    path = f"/var/lib/waagent/VMExt.CustomScript-2.1.0/config/{given[0]}.settings"
    eventually(lambda: after in guest.read(path).decode())
    # What was encrypted for git can't be: this is said, and what is in force goes on with the key that is kept.
    stalled = condition(home.api.wait_stalled("old", "WrongCertificate"), "Ready")
    assert stalled is not None
    assert stalled["message"].endswith(f"encrypt it anew, beside what is there: kubectl vmext encrypt --vm {name}")
    assert guest.exists(f"/var/lib/waagent/{before}.prv")
    guest.reboot()
    eventually(lambda: len(lines(guest, "/root/Smime")) == 2, "the boot enables it", timeout_s=60)
    assert lines(guest, "/root/Smime")[1].startswith(before)
    # With one for the new certificate beside it, it is the same content: nothing runs.
    both = {**of_git, **encrypted(home, name, {"from": "git"}, tmp_path, capsys)}
    home.api.apply(extension("old", name, protectedSettings={"encrypted": both}, **old))
    home.api.wait_ready("old")
    path = f"/var/lib/waagent/Test.Smime-1.0.0/config/{given[1]}.settings"
    eventually(lambda: after in guest.read(path).decode())
    assert numbers(home, "script", "old") == given
    assert lines(guest, "/root/cms") == [PASSWORD]
    assert len(lines(guest, "/root/Smime")) == 2
    # What is new is opened by the new key, by both commands.
    put_secret(home, name, {"commandToExecute": "echo another >> /root/cms"})
    home.api.apply(extension("script", name, protectedSettings=secret, tags={"look": "now"}))
    home.api.apply(extension("old", name, forceUpdateTag="2", protectedSettings={"encrypted": both}, **old))
    eventually(lambda: lines(guest, "/root/cms") == [PASSWORD, "another"], timeout_s=60)
    eventually(lambda: len(lines(guest, "/root/Smime")) == 3, timeout_s=60)
    assert lines(guest, "/root/Smime")[2].startswith(after)
    home.api.wait_ready("script")
    home.api.wait_ready("old")
