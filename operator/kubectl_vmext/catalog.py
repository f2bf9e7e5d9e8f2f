"""The catalog as the one who types sees it: what there is, narrowed down, and what is the newest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_vmext.errors import NotFoundError, UsageError
from vmext_operator.api.version import Version

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are meant; None and empty for all. Names match in any case, as Azure's."""

    publisher: str | None = None
    type: str | None = None
    version: str | None = None
    location: str | None = None

    def admits(self, entry: Object) -> bool:
        """Tell whether an entry is meant."""
        spec = entry["spec"]
        locations = spec.get("locations") or ()
        return (
            (self.publisher is None or spec["publisher"].lower() == self.publisher.lower())
            and (self.type is None or spec["type"].lower() == self.type.lower())
            and (self.version is None or spec["version"] == self.version)
            and (self.location is None or not locations or self.location in locations)
        )


def found(entries: Iterable[Object], wanted: Filter, *, latest: bool = False) -> list[Object]:
    """Return the entries that are meant, sorted by handler and version; of each handler the newest, if asked."""
    chosen = sorted((entry for entry in entries if wanted.admits(entry)), key=_order)
    if not latest:
        return chosen
    newest = {_handler(entry): entry for entry in chosen if not entry["spec"].get("withdrawn")}
    return list(newest.values())


def newest(entries: Iterable[Object], publisher: str | None, type_: str) -> Object:
    """Return the newest entry of a handler.

    Raises:
        NotFoundError: the catalog has none.
        UsageError: several publishers have that type.
    """
    chosen = found(entries, Filter(publisher, type_), latest=True)
    if not chosen:
        name = f"{publisher}.{type_}" if publisher else type_
        raise NotFoundError(f"the catalog has no {name}; see kubectl vmext image list")
    publishers = sorted({str(entry["spec"]["publisher"]) for entry in chosen})
    if len(publishers) > 1:
        raise UsageError(f"{type_} is published by {', '.join(publishers)}; say --publisher")
    return chosen[0]


def entries(cluster: Cluster) -> list[Object]:
    """Return the whole catalog. Raises PluginError."""
    return list(cluster.list(cluster.image()))


def _handler(entry: Object) -> str:
    return f"{entry['spec']['publisher']}.{entry['spec']['type']}".lower()


def _order(entry: Object) -> tuple[str, Version]:
    return _handler(entry), Version(entry["spec"]["version"], "spec.version")
