"""Kubernetes Events: what happened to an object, for people who read ``kubectl describe``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmext_operator.api import API_VERSION
from vmext_operator.api.meta import Meta

COMPONENT = "vmext-operator"
#: The API server takes no more.
_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one object.

    Attributes:
        kind: of the object.
        about: the object.
        warning: somebody should look.
        reason: one word.
        message: in words.
        since: when the first of those happened that it stands for, as the API writes it; empty for now.
        count: how often it happened since then.
        others: how many others of the object it stands for besides.
    """

    kind: str
    about: Meta
    warning: bool
    reason: str
    message: str
    since: str = ""
    count: int = 1
    others: int = 0

    def after(self, before: Event) -> Event:
        """Return the Event that stands for this one, and for one of the object that was not written."""
        if (before.warning, before.reason) == (self.warning, self.reason):
            return replace(self, since=before.since, count=before.count + 1, others=before.others)
        return replace(self, since=before.since, others=before.count + before.others)

    def render(self, now: str) -> Mapping[str, Any]:
        """Return the Event as the API has it."""
        others = f" ({self.others} other Events since {self.since} are not written)" if self.others else ""
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
            "message": self.message[: _MESSAGE - len(others)] + others,
            "source": {"component": COMPONENT},
            "firstTimestamp": self.since or now,
            "lastTimestamp": now,
            "count": self.count,
        }
