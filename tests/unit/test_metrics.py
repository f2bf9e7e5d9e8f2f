"""What the operator counts, and that alerts, dashboard and documentation speak of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmext_operator.control import metrics
from vmext_operator.control.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "charts" / "vmext" / "files" / "observability"


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric that the documentation lists."""
    text = (ROOT / "docs" / "operations" / "metrics.md").read_text()
    rows = [row.split("|")[1:3] for row in text.splitlines() if row.startswith("| `vmext_")]
    return {name.strip(" `"): set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def expressions() -> list[str]:
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())
    found = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    board: Any = json.loads((FILES / "dashboard.json").read_text())
    return found + [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_alerts_and_dashboard_name_only_metrics_and_labels_that_there_are() -> None:
    known = documented()
    for expression in expressions():
        names = {
            re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name) for name in re.findall(r"vmext_\w+", expression)
        }
        assert names, expression
        assert names <= set(known), expression
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            used |= set(re.split(r"\W+", labels))
        assert used - {"le"} <= set.union(*(known[name] for name in names)), expression


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())
    for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/apis", "discovery"),
        ("/apis/vmext.dev/v1alpha1", "discovery"),
        ("/apis/vmext.dev/v1alpha1/goalstates", "goalstates"),
        ("/apis/vmext.dev/v1alpha1/namespaces/a/goalstates/web-1", "goalstates"),
        ("/apis/vmext.dev/v1alpha1/namespaces/a/virtualmachines/web-1/status", "virtualmachines/status"),
        ("/apis/vmext.dev/v1alpha1/virtualmachineextensionimages/one", "virtualmachineextensionimages"),
        ("/api/v1/namespaces/a/events", "events"),
        ("/api/v1/namespaces/a/secrets/s", "secrets"),
        ("/api/v1/namespaces/a", "namespaces"),
        ("/api/v1/namespaces/a/serviceaccounts/x/token", "serviceaccounts/token"),
        ("/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "leases"),
    ],
)
def test_the_kind_of_a_request(target: str, kind: str) -> None:
    assert metrics.kind_of(target) == kind


def test_requests_are_counted_by_what_came_of_them() -> None:
    counted = Metrics()
    for code in (201, 201, 409, 0):
        counted.requested("POST", "/api/v1/namespaces/a/serviceaccounts/x/token", code, 0.01)
    text = counted.text().decode()
    for code, number in ((201, 2), (409, 1), (0, 1)):
        assert (
            f'vmext_api_requests_total{{code="{code}",kind="serviceaccounts/token",verb="POST"}} {number}.0\n' in text
        )
    assert "vmext_tokens_minted_total 2.0\n" in text
