"""kstatus' own algorithm for custom resources, as Helm 4 and Flux have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def status_of(obj: Mapping[str, Any]) -> str:
    """Return Terminating, InProgress, Failed or Current."""
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    status = obj.get("status", {})
    if "observedGeneration" in status and status["observedGeneration"] != obj["metadata"]["generation"]:
        return "InProgress"
    found = {one["type"]: one["status"] for one in status.get("conditions", [])}
    if found.get("Reconciling") == "True":
        return "InProgress"
    if found.get("Stalled") == "True":
        return "Failed"
    if "Ready" in found:
        return "Current" if found["Ready"] == "True" else "InProgress"
    return "Current"
