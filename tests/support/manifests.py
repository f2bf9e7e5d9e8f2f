"""Manifests as the API server judges them: nothing is written, and nothing that it does not know is let through."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from development.api import Api, ApiError

_APPLY = "application/apply-patch+yaml"


class RefusedManifestsError(Exception):
    """The API server would not take some of them; the message says which, and why."""


def dry_run(api: Api, objects: Iterable[Mapping[str, Any]], *, namespace: str | None = None) -> None:
    """Apply objects of any kind without effect; fields that their schemas lack are errors.

    Args:
        api: the API server.
        objects: as they would be applied.
        namespace: one that is there, for those whose own is not.

    Raises:
        RefusedManifestsError: with every one that is refused.
    """
    refused = []
    for obj in objects:
        version, kind, name = obj["apiVersion"], obj["kind"], obj["metadata"]["name"]
        try:
            plural, namespaced = kinds(api, version)[kind]
            given = dict(obj)
            if namespaced:
                where = namespace or obj["metadata"].get("namespace") or api.namespace
                given["metadata"] = {**obj["metadata"], "namespace": where}
                target = f"{_base(version)}/namespaces/{where}/{plural}/{name}"
            else:
                target = f"{_base(version)}/{plural}/{name}"
            query = "?fieldManager=test&force=true&dryRun=All&fieldValidation=Strict"
            api.request("PATCH", target + query, given, _APPLY)
        except ApiError as error:
            refused.append(f"{kind} {name}: {error.message}")
        except KeyError:
            refused.append(f"{kind} {name}: {version} has no such kind")
    if refused:
        raise RefusedManifestsError("\n".join(refused))


def _base(version: str) -> str:
    return f"/api/{version}" if version == "v1" else f"/apis/{version}"


@functools.lru_cache(maxsize=256)
def kinds(api: Api, version: str) -> Mapping[str, tuple[str, bool]]:
    """Return a group's kinds by name: plural, and whether they are in namespaces."""
    try:
        found = api.request("GET", _base(version))["resources"]
    except ApiError as error:
        if error.status == 404:
            return {}
        raise
    return {one["kind"]: (one["name"], one["namespaced"]) for one in found if "/" not in one["name"]}
