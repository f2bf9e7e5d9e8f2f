"""A password from a Secret, or from git, to one machine: what arrives there, and where else it is not."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import simulated_guest
from development.api import ApiError, condition
from development.house import House, agent_service, extension
from guests.agent_machine import tracer_zip
from kubectl_vmext import __main__ as plugin
from support.guests import skipping
from support.waiting import eventually

CANARY = "correct-horse-battery-staple"


@pytest.fixture
def guest(home: House, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> simulated_guest.Guest:
    """A machine of its own, enrolled."""
    name = "sealed-" + request.node.name.replace("_", "-")[-40:].strip("-")
    with skipping():
        made = home.add_guest(name)
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    assert plugin.main(["enroll", *where, name]) == 0
    made.run(["sh", "-c", capsys.readouterr().out])
    made.start_service(agent_service())
    home.api.wait("VirtualMachine", name, lambda vm: "thumbprint" in ((vm or {})["status"].get("credential") or {}))
    return made


def put_secret(home: House, name: str, value: Any, **metadata: Any) -> None:
    data = {"settings": base64.b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()}
    target = f"/api/v1/namespaces/{home.api.namespace}/secrets"
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **metadata}, "data": data}
    try:
        home.api.request("POST", target, body)
    except ApiError as error:
        if error.status != 409:
            raise
        home.api.request("PATCH", f"{target}/{name}", body, "application/merge-patch+json")


def script(words: str) -> dict[str, str]:
    return {"commandToExecute": f"echo {words} >> /root/seen"}


def declare(home: House, name: str, **spec: Any) -> None:
    home.api.apply(extension(name, name, **spec))


def seen(guest: simulated_guest.Guest) -> list[str]:
    try:
        return guest.read("/root/seen").decode().split()
    except FileNotFoundError:
        return []


def everything(home: House) -> str:
    """Return all that kubectl and the operator's log show of the namespace, but for the user's Secrets."""
    kinds = "xvm,vmx,goal,events,serviceaccounts,roles,rolebindings,leases"
    shown = home.cluster.kubectl("get", kinds, "-n", home.api.namespace, "-o", "yaml", "--show-managed-fields")
    return shown + home.cluster.kubectl("get", "vmxi", "-o", "yaml") + (home.folder / "operator.log").read_text()


def test_a_secret_reaches_its_machine_and_nobody_else(home: House, guest: simulated_guest.Guest) -> None:
    name = guest.name
    put_secret(home, name, script(CANARY))
    reference = {"secretRef": {"name": name, "key": "settings"}}
    declare(home, name, protectedSettings=reference)
    home.api.wait_ready(name)
    assert seen(guest) == [CANARY]
    shown = everything(home)
    assert CANARY not in shown
    assert base64.b64encode(CANARY.encode()).decode()[:20] not in shown
    settings = json.loads(guest.read("/var/lib/waagent/VMExt.CustomScript-2.1.0/config/1.settings"))
    handler = settings["runtimeSettings"][0]["handlerSettings"]
    assert guest.exists(f"/var/lib/waagent/{handler['protectedSettingsCertThumbprint']}.prv")
    # A label is no content: nothing runs. The tag has the operator look at once.
    put_secret(home, name, script(CANARY), labels={"a": "b"})
    declare(home, name, protectedSettings=reference, tags={"look": "1"})
    home.api.wait_ready(name)
    assert seen(guest) == [CANARY]
    # Another content is.
    put_secret(home, name, script("other"))
    declare(home, name, protectedSettings=reference, tags={"look": "2"})
    eventually(lambda: seen(guest) == [CANARY, "other"])
    home.api.wait_ready(name)


def test_what_is_wrong_with_a_secret_is_said_and_recovered_from(home: House, guest: simulated_guest.Guest) -> None:
    name = guest.name
    put_secret(home, name, CANARY.encode())
    declare(home, name, protectedSettings={"secretRef": {"name": name, "key": "settings"}})

    found = condition(home.api.wait_stalled(name, "SecretInvalid"), "Ready")
    assert found is not None
    assert found["message"] == f"key settings of Secret {name} is not JSON"
    put_secret(home, name, script("mended"))
    home.api.wait_ready(name)
    assert seen(guest) == ["mended"]
    assert CANARY not in everything(home)


def test_what_is_encrypted_for_git_runs_on_the_machine_that_it_is_for(
    home: House, guest: simulated_guest.Guest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = guest.name
    (tmp_path / "s.json").write_text(json.dumps(script(CANARY)))
    machine = home.api.get("VirtualMachine", name)
    assert machine is not None
    (tmp_path / "crt").write_text(machine["status"]["credential"]["certificate"])
    capsys.readouterr()
    assert plugin.main(["encrypt", "--certificate", f"{tmp_path}/crt", "--from-file", f"{tmp_path}/s.json"]) == 0
    snippet = capsys.readouterr().out
    assert CANARY not in snippet

    declare(home, name, **yaml.safe_load(snippet))

    home.api.wait_ready(name)
    assert seen(guest) == [CANARY]
    stolen = f"stolen-{name}"[:60]
    thumbprint = "CD" * 20
    home.api.apply(extension(stolen, name, type="Other", protectedSettings={"encrypted": {thumbprint: "AAAA"}}))
    home.api.wait_stalled(stolen, "WrongCertificate")


def test_either_a_secret_or_a_ciphertext(home: House) -> None:
    both = {"secretRef": {"name": "s", "key": "k"}, "encrypted": {"AB" * 20: "e30="}}
    for given in (both, {}):
        with pytest.raises(ApiError, match="give either secretRef or encrypted"):
            home.api.apply(extension("x", "x", protectedSettings=given))


def test_what_does_not_fit_its_schema_never_travels_and_is_not_repeated(
    home: House, guest: simulated_guest.Guest
) -> None:
    name, type_ = guest.name, "schema" + guest.name.replace("-", "")[-20:]
    content = tracer_zip()
    (home.served / f"{type_}.zip").write_bytes(content)
    package = {
        "urls": [f"{home.url}/{type_}.zip"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
    }
    schema = {"properties": {"port": {"type": "integer"}}, "required": ["port"], "additionalProperties": False}
    spec = {"publisher": "Test", "type": type_, "version": "1.0.0", "package": package}
    metadata = {"name": f"test.{type_}-1.0.0"}
    kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachineExtensionImage"}
    home.api.apply(kind | {"metadata": metadata, "spec": spec | {"protectedSettingsSchema": schema}})
    put_secret(home, name, {"port": CANARY})
    reference = {"secretRef": {"name": name, "key": "settings"}}
    declare(home, name, publisher="Test", type=type_, typeHandlerVersion="1", protectedSettings=reference)

    found = condition(home.api.wait_stalled(name, "InvalidSettings"), "Ready")
    assert found is not None
    assert found["message"].endswith('protectedSettings.port: does not fit type: "integer"')
    goal = home.api.get("GoalState", name)
    assert goal is not None
    assert goal["spec"]["extensions"] == []
    put_secret(home, name, {"port": 80})
    home.api.wait_ready(name)
    assert CANARY not in everything(home)
