"""What a watch brings is read only as far as it has to be, and never wrongly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmext_agent import cluster


def line(metadata: dict[str, Any], spec: dict[str, Any], kind: str = "MODIFIED") -> bytes:
    """Return an event as the API server writes it: keys in order, without blanks."""
    obj = {"apiVersion": "vmext.dev/v1alpha1", "kind": "GoalState", "metadata": metadata, "spec": spec, "status": {}}
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


METADATA = {
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "generation": 7,
    "managedFields": [{"fieldsV1": {"f:spec": {"f:resourceVersion": {}}}}],
    "name": "web-1",
    "resourceVersion": "1234",
    "uid": "uid-goal",
}


@pytest.mark.parametrize(
    "metadata",
    [
        METADATA,
        {"annotations": {"generation": "9", "uid": "x", "resourceVersion": "1"}, **METADATA},
        {"annotations": {"a": '"generation":8,"resourceVersion":"9","uid":"z"'}, **METADATA},
        {**METADATA, "ownerReferences": []},
    ],
)
def test_an_objects_head_is_what_its_metadata_says(metadata: dict[str, Any]) -> None:
    made = line(metadata, {"generation": 1, "uid": "other", "settings": '"generation":2'})

    event = cluster.event(made)

    assert (event.resource_version, event.uid, event.generation) == ("1234", "uid-goal", 7)
    assert event.is_there
    assert event.obj()["metadata"] == metadata


def test_an_object_without_a_head_has_none_of_its_spec() -> None:
    event = cluster.event(line({"name": "web-1"}, {"generation": 1, "resourceVersion": "5", "uid": "other"}))

    assert (event.resource_version, event.generation) == ("", 0)


@pytest.mark.parametrize(("kind", "deleted"), [("BOOKMARK", False), ("DELETED", True)])
def test_a_bookmark_and_a_deletion_bring_no_object(kind: str, deleted: bool) -> None:
    event = cluster.event(line(METADATA, {}, kind))

    assert (event.is_there, event.deleted, event.resource_version) == (False, deleted, "1234")
