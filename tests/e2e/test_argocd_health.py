"""What Argo CD makes of machines and extensions in each state that they come into.

The objects under ``examples/gitops/argocd/**/testdata`` are what this test exported (``VMEXT_EXPORT=1 make test
ARGS=tests/e2e/test_argocd_health.py`` does it again); each run compares their conditions with those of today.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from development.api import Object, condition
from development.house import House, extension
from support import argocd
from support.guests import skipping

MACHINE, EXTENSION = argocd.KINDS
NAME = "web-1"
LOOKED_AT = ("Ready", "Reconciling", "Stalled")
AFTER_A_WORD = "until [ -e /root/word ]; do sleep 0.05; done; echo done"


class Exporter:
    """Takes objects as the API server gives them, and what Argo CD says of each."""

    def __init__(self, home: House) -> None:
        self._home = home
        self.health: dict[str, str] = {}

    def take(self, kind: str, state: str, name: str = NAME) -> str:
        """Compare an object with the one of that state that is kept; return the health's message."""
        obj = self._home.api.get(kind, name)
        assert obj is not None, f"{kind} {name} is gone"
        obj["metadata"].pop("managedFields", None)
        self.health[f"{kind} {state}"], message = argocd.health(obj)
        kept = argocd.CUSTOMIZATIONS / kind / "testdata" / f"{state}.yaml"
        if os.environ.get("VMEXT_EXPORT"):
            # What is of the machine that this ran on says nothing to a reader.
            obj["metadata"]["namespace"] = "site"
            if "guest" in obj["status"]:
                obj["status"]["guest"]["kernel"] = "6.1.0"
            kept.write_text(yaml.safe_dump(obj, sort_keys=False, width=120))
        assert signs(obj) == signs(yaml.safe_load(kept.read_text())), f"{kept} is of the past; VMEXT_EXPORT=1 renews it"
        return message


def signs(obj: dict[str, Any]) -> dict[str, Any]:
    """Return what of an object its health depends on."""
    conditions = obj["status"].get("conditions") or ()
    return {
        "seen": obj["status"]["observedGeneration"] == obj["metadata"]["generation"],
        "deleted": "deletionTimestamp" in obj["metadata"],
        "conditions": {(one["type"], one["status"], one["reason"]) for one in conditions if one["type"] in LOOKED_AT},
    }


def says(kind: str, reason: str) -> Any:
    def does(obj: Object | None) -> bool:
        found = condition(obj, kind)
        return found is not None and found["reason"] == reason

    return does


def test_health_follows_a_machine_and_its_extension_through_their_life(home: House) -> None:
    api, exporter = home.api, Exporter(home)

    home.operator.stop()
    api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": MACHINE, "metadata": {"name": NAME}})
    api.apply(extension(NAME, NAME, settings={"commandToExecute": AFTER_A_WORD}))
    for kind in argocd.KINDS:
        assert exporter.take(kind, "never-seen") == "Waiting for the vmext operator"

    home.operator.start()
    api.wait(MACHINE, NAME, says("Ready", "AgentNeverReported"))
    api.wait(EXTENSION, NAME, says("Reconciling", "AgentNeverReported"))
    exporter.take(MACHINE, "silent")
    assert "install and start it there" in exporter.take(EXTENSION, "waiting")

    with skipping():
        guest = home.add_machine(NAME, declare=False)
    api.wait(MACHINE, NAME, says("Ready", "AgentReporting"))
    api.wait(EXTENSION, NAME, says("Reconciling", "Enabling"))
    exporter.take(MACHINE, "reporting")
    exporter.take(EXTENSION, "running")

    guest.write("/root/word", b"go")
    api.wait_ready(NAME)
    exporter.take(EXTENSION, "ready")

    home.operator.stop()
    api.apply(extension(NAME, NAME, settings={"commandToExecute": "ech hello"}))
    assert exporter.take(EXTENSION, "changed") == "Waiting for the vmext operator to see the last change"
    home.operator.start()
    api.wait_stalled(NAME, "ExecutionFailed")
    message = exporter.take(EXTENSION, "failed")
    assert message.startswith("ExecutionFailed: ")
    assert "ech: not found" in message

    home.operator.stop()
    api.delete(EXTENSION, NAME)
    exporter.take(EXTENSION, "deleted")
    home.operator.start()
    api.wait_gone(EXTENSION, NAME)

    home.operator.stop()
    api.delete(MACHINE, NAME)
    exporter.take(MACHINE, "deleted")
    home.operator.start()
    api.wait_gone(MACHINE, NAME)

    assert exporter.health == {
        f"{MACHINE} never-seen": "Progressing",
        f"{MACHINE} silent": "Progressing",
        f"{MACHINE} reporting": "Healthy",
        f"{MACHINE} deleted": "Progressing",
        f"{EXTENSION} never-seen": "Progressing",
        f"{EXTENSION} waiting": "Progressing",
        f"{EXTENSION} running": "Progressing",
        f"{EXTENSION} ready": "Healthy",
        f"{EXTENSION} changed": "Progressing",
        f"{EXTENSION} failed": "Degraded",
        f"{EXTENSION} deleted": "Progressing",
    }


def test_a_machine_whose_token_ended_is_not_healthy(home: House) -> None:
    name = "db-1"
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": MACHINE, "metadata": {"name": name}})
    home.api.wait(MACHINE, name, lambda obj: (obj or {})["status"].get("credential") is not None)
    home.api.patch_status(MACHINE, name, {"credential": {"expiresAt": "2026-01-01T00:00:00Z"}})
    home.api.wait(MACHINE, name, says("Ready", "CredentialExpired"))
    exporter = Exporter(home)
    assert "enrol it anew" in exporter.take(MACHINE, "credential-expired", name)
    assert exporter.health == {f"{MACHINE} credential-expired": "Progressing"}
