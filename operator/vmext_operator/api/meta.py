"""What every object has: its key, and those parts of metadata that decisions need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from vmext_operator.api import fields


class Key(NamedTuple):
    """Namespace and name of an object; the namespace is empty for a cluster-scoped one."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Meta:
    """The parts of an object's metadata that decisions need."""

    key: Key
    uid: str
    resource_version: str
    generation: int
    created: datetime
    deleted: datetime | None
    finalizers: tuple[str, ...]

    @property
    def age_order(self) -> tuple[datetime, str]:
        """Sort the older first, and by UID where two are of one second."""
        return (self.created, self.uid)


def parse(obj: Mapping[str, Any]) -> Meta:
    """Parse an object's metadata. Raises ParseError."""
    meta = fields.field(obj, "object", "metadata", dict)
    deleted = fields.optional(meta, "metadata", "deletionTimestamp", str)
    return Meta(
        key=Key(fields.optional(meta, "metadata", "namespace", str) or "", fields.field(meta, "metadata", "name", str)),
        uid=fields.field(meta, "metadata", "uid", str),
        resource_version=fields.field(meta, "metadata", "resourceVersion", str),
        generation=fields.optional(meta, "metadata", "generation", int) or 0,
        created=fields.time(fields.field(meta, "metadata", "creationTimestamp", str), "metadata.creationTimestamp"),
        deleted=None if deleted is None else fields.time(deleted, "metadata.deletionTimestamp"),
        finalizers=tuple(fields.optional(meta, "metadata", "finalizers", list) or ()),
    )
