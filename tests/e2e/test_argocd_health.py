"""What Argo CD makes of machines and extensions in each state that they come into.

The objects under ``examples/gitops/argocd/**/testdata`` are what this test and test_reachability.py exported;
``VMEXT_EXPORT=1 make test ARGS="tests/e2e/test_argocd_health.py tests/e2e/test_reachability.py"`` does it again. Each
run compares their conditions with those of today.
"""

from __future__ import annotations

from typing import Any

from development.api import Object, condition
from development.house import House, extension
from support import argocd
from support.guests import skipping

MACHINE, EXTENSION = argocd.KINDS
NAME = "web-1"
AFTER_A_WORD = "until [ -e /root/word ]; do sleep 0.05; done; echo done"


class Health:
    """Takes down the health of each state, and compares its object with the one that is kept."""

    def __init__(self, home: House) -> None:
        self._home = home
        self.seen: dict[str, str] = {}

    def take(self, kind: str, state: str, name: str = NAME) -> str:
        """Take one; return the health's message."""
        self.seen[f"{kind} {state}"], message = argocd.exported(self._home.api, kind, state, name)
        return message


def says(kind: str, reason: str) -> Any:
    def does(obj: Object | None) -> bool:
        found = condition(obj, kind)
        return found is not None and found["reason"] == reason

    return does


def machine(name: str = NAME, **spec: Any) -> Object:
    return {"apiVersion": "vmext.dev/v1alpha1", "kind": MACHINE, "metadata": {"name": name}, "spec": spec}


def test_health_follows_a_machine_and_its_extension_through_their_life(home: House) -> None:
    api, health = home.api, Health(home)

    home.operator.stop()
    api.apply(machine())
    api.apply(extension(NAME, NAME, settings={"commandToExecute": AFTER_A_WORD}))
    for kind in argocd.KINDS:
        assert health.take(kind, "never-seen") == "Waiting for the vmext operator"

    home.operator.start()
    api.wait(MACHINE, NAME, says("Ready", "NotEnrolled"))
    api.wait(EXTENSION, NAME, says("Reconciling", "NotEnrolled"))
    health.take(MACHINE, "silent")
    assert "kubectl vmext enroll web-1" in health.take(EXTENSION, "waiting")

    with skipping():
        guest = home.add_machine(NAME, declare=False)
    api.wait(MACHINE, NAME, says("Ready", "AgentReporting"))
    api.wait(EXTENSION, NAME, says("Reconciling", "Enabling"))
    health.take(MACHINE, "reporting")
    health.take(EXTENSION, "running")

    guest.write("/root/word", b"go")
    api.wait_ready(NAME)
    health.take(EXTENSION, "ready")

    api.apply(machine(paused=True))
    api.wait(MACHINE, NAME, says("Paused", "Paused"))
    assert health.take(MACHINE, "paused").startswith("Paused: it is paused")
    api.apply(extension(NAME, NAME, settings={"commandToExecute": "echo later"}))
    api.wait(EXTENSION, NAME, says("Reconciling", "Paused"))
    health.take(EXTENSION, "paused")
    api.apply(machine())
    api.wait_ready(NAME)
    api.wait(MACHINE, NAME, lambda obj: condition(obj, "Paused") is None)

    home.operator.stop()
    api.apply(extension(NAME, NAME, settings={"commandToExecute": "ech hello"}))
    assert health.take(EXTENSION, "changed") == "Waiting for the vmext operator to see the last change"
    home.operator.start()
    api.wait_stalled(NAME, "ExecutionFailed")
    message = health.take(EXTENSION, "failed")
    assert message.startswith("ExecutionFailed: ")
    assert "ech: not found" in message

    home.operator.stop()
    api.delete(EXTENSION, NAME)
    health.take(EXTENSION, "deleted")
    home.operator.start()
    api.wait_gone(EXTENSION, NAME)

    home.operator.stop()
    api.delete(MACHINE, NAME)
    health.take(MACHINE, "deleted")
    home.operator.start()
    api.wait_gone(MACHINE, NAME)

    assert health.seen == {
        f"{MACHINE} never-seen": "Progressing",
        f"{MACHINE} silent": "Progressing",
        f"{MACHINE} reporting": "Healthy",
        f"{MACHINE} paused": "Suspended",
        f"{MACHINE} deleted": "Progressing",
        f"{EXTENSION} never-seen": "Progressing",
        f"{EXTENSION} waiting": "Progressing",
        f"{EXTENSION} running": "Progressing",
        f"{EXTENSION} ready": "Healthy",
        f"{EXTENSION} paused": "Suspended",
        f"{EXTENSION} changed": "Progressing",
        f"{EXTENSION} failed": "Degraded",
        f"{EXTENSION} deleted": "Progressing",
    }


def test_a_machine_whose_token_ended_is_not_healthy(home: House) -> None:
    name = "db-1"
    home.api.apply(machine(name))
    home.api.wait(MACHINE, name, lambda obj: (obj or {})["status"].get("credential") is not None)
    home.api.patch_status(MACHINE, name, {"credential": {"expiresAt": "2026-01-01T00:00:00Z"}})
    home.api.wait(MACHINE, name, says("Ready", "CredentialExpired"))
    health = Health(home)
    assert "enrol it anew" in health.take(MACHINE, "credential-expired", name)
    assert health.seen == {f"{MACHINE} credential-expired": "Progressing"}
