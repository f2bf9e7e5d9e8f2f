"""Kubernetes Events: what happened to an object, for people who read ``kubectl describe``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import API_VERSION
from vmext_operator.api.meta import Meta

COMPONENT = "vmext-operator"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one object."""

    kind: str
    about: Meta
    warning: bool
    reason: str
    message: str

    def render(self, now: str) -> Mapping[str, Any]:
        """Return the Event as the API has it."""
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{self.about.key.name}.", "namespace": self.about.key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": self.kind,
                "name": self.about.key.name,
                "namespace": self.about.key.namespace,
                "uid": self.about.uid,
                "resourceVersion": self.about.resource_version,
            },
            "type": "Warning" if self.warning else "Normal",
            "reason": self.reason,
            "message": self.message[:1024],
            "source": {"component": COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
