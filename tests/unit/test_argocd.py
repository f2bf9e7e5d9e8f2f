"""Argo CD's health scripts on the exported objects, and what is pasted into its ConfigMap."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support import argocd

EXAMPLES = argocd.CUSTOMIZATIONS.parents[1]


def listed() -> list[tuple[str, dict[str, Any]]]:
    """Return every case of the health_test.yaml files, which are written as upstream's are."""
    found = []
    for kind in argocd.KINDS:
        tests = yaml.safe_load((argocd.CUSTOMIZATIONS / kind / "health_test.yaml").read_text())["tests"]
        found += [(kind, case) for case in tests]
    return found


@pytest.mark.parametrize(("kind", "case"), listed(), ids=lambda x: x if isinstance(x, str) else x["inputPath"])
def test_an_exported_object_has_its_health(kind: str, case: dict[str, Any]) -> None:
    obj = yaml.safe_load((argocd.CUSTOMIZATIONS / kind / case["inputPath"]).read_text())
    assert obj["kind"] == kind
    assert argocd.health(obj) == (case["healthStatus"]["status"], case["healthStatus"]["message"])


def test_every_exported_object_is_listed() -> None:
    for kind in argocd.KINDS:
        there = {f"testdata/{path.name}" for path in (argocd.CUSTOMIZATIONS / kind / "testdata").iterdir()}
        assert there == {case["inputPath"] for of, case in listed() if of == kind}


def test_the_config_map_holds_the_scripts() -> None:
    data = yaml.safe_load((EXAMPLES / "argocd-cm.yaml").read_text())["data"]
    assert data == {f"resource.customizations.health.vmext.dev_{kind}": argocd.script(kind) for kind in argocd.KINDS}


@pytest.mark.parametrize(
    ("status", "health"),
    [
        # A machine that can't be reached: neither the declaration's fault nor ready.
        ([("Ready", "Unknown", "GuestUnreachable")], "Progressing"),
        ([("Ready", "False", "Other")], "Progressing"),
        ([("Reconciling", "True", "Other")], "Progressing"),
        # Whatever the order of the list, and whatever else is in it.
        ([("Stalled", "True", "Bad"), ("Other", "True", "X"), ("Ready", "False", "Bad")], "Degraded"),
        ([("Stalled", "False", "Bad"), ("Ready", "True", "Good")], "Healthy"),
        ([("Reconciling", "True", "Busy"), ("Ready", "True", "Good")], "Progressing"),
        ([], "Progressing"),
    ],
)
def test_health_by_conditions(status: list[tuple[str, str, str]], health: str) -> None:
    conditions = [{"type": kind, "status": truth, "reason": reason, "message": "m"} for kind, truth, reason in status]
    obj = {"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "conditions": conditions}}
    for kind in argocd.KINDS:
        assert argocd.health(obj | {"kind": kind})[0] == health


def test_an_object_without_a_status_is_progressing() -> None:
    for kind in argocd.KINDS:
        assert argocd.health({"kind": kind, "metadata": {"generation": 1}})[0] == "Progressing"
