"""A catalog whose publisher signs: what is not signed holds up only who needs it, and recovers when it is."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development import credentials
from development.api import Api, condition
from development.house import extension
from development.operator_process import ROOT, Operator
from support.certificates import public_pem, publisher_key
from vmext_operator.core import signature

SHA = "c" * 64


@pytest.fixture(scope="module")
def operator(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"Signed": [public_pem(publisher_key(1))]}))
    made = Operator(credentials.of_operator(cluster, folder), folder / "operator.log", "--publisher-keys", str(keys))
    made.start()
    yield made
    made.stop()


def image(version: str, by: int | None) -> dict[str, Any]:
    package: dict[str, Any] = {"urls": ["http://127.0.0.1:1/x.zip"], "sha256": SHA, "sizeBytes": 10}
    if by is not None:
        text = signature.text("Signed", "Tool", version, SHA, 10)
        package["signature"] = base64.b64encode(publisher_key(by).sign(text)).decode()
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "VirtualMachineExtensionImage",
        "metadata": {"name": f"signed.tool-{version}"},
        "spec": {"publisher": "Signed", "type": "Tool", "version": version, "package": package},
    }


def test_an_extension_is_stalled_for_a_signature_and_recovers(operator: Operator, api: Api) -> None:
    api.apply(image("1.0.0", by=2))
    api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "web-1"}})
    api.apply(extension("tool", "web-1", publisher="Signed", type="Tool", typeHandlerVersion="1"))

    found = condition(api.wait_stalled("tool", "SignatureInvalid"), "Ready")
    assert found is not None
    assert "by none of the keys that the operator has of its publisher" in found["message"]

    api.apply(image("1.0.0", by=1))

    def is_wanted(goal: Any) -> bool:
        entries = ((goal or {}).get("spec") or {}).get("extensions") or ()
        return [one["handler"]["package"].get("signature") for one in entries] == [
            image("1.0.0", by=1)["spec"]["package"]["signature"]
        ]

    api.wait("GoalState", "web-1", is_wanted)
    assert "catalog entry not chosen name=signed.tool-1.0.0" in operator.log.read_text()


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "can't be read"), ("{", "is not JSON"), ('{"A": ["x"]}', "A[0]: is no public key of Ed25519")],
)
def test_keys_that_can_not_be_used_end_the_operator_with_a_word(tmp_path: Path, content: str | None, why: str) -> None:
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    command = [sys.executable, "-m", "vmext_operator", "--kubeconfig", "/nowhere", "--publisher-keys", str(keys)]

    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT / "operator")}, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"vmext-operator: --publisher-keys {keys}")
    assert why in done.stderr
