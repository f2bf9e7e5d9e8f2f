"""``kubectl vmext plan``: what applying some files would do on which machine, before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from kubectl_vmext import catalog, given, output, where
from kubectl_vmext.errors import UsageError
from vmext_operator.api.meta import Key
from vmext_operator.core import plan as planning
from vmext_operator.errors import ParseError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster

Object = Mapping[str, Any]
_SUFFIXES = (".yaml", ".yml", ".json")
_COLUMNS = ("machine", "extension", "action", "before", "after", "runs", "why")


@click.command("plan")
@click.option("-f", "--filename", "paths", metavar="PATH", multiple=True, required=True, help="File, folder, or -.")
@click.option("--all", "everything", is_flag=True, help="Show also what stays as it is.")
@where.options
@output.options("table")
@where.pass_where
def plan(at: where.Where, paths: tuple[str, ...], everything: bool, form: str, query: str | None) -> None:
    """Show what applying files would change, and what would run, on which machine.

    Nothing is written. It is decided by what the operator itself decides by.
    """
    files = [one for path in paths for one in _objects(path)]
    cluster = at.cluster()
    try:
        changes = planning.plan(_world(cluster, files), files, namespace=cluster.namespace, now=datetime.now(UTC))
    except ParseError as error:
        raise UsageError(f"an object that the files or the cluster hold can't be understood: {error}") from None
    shown = [
        {
            "machine": one.machine.name,
            "extension": one.extension,
            "handler": one.handler,
            "action": one.action.value,
            "before": one.before,
            "after": one.after,
            "runs": one.runs,
            "why": "; ".join(one.why),
        }
        for one in changes
        if everything or one.action is not planning.Action.NOTHING
    ]
    output.show(shown, form, query, _COLUMNS)


def _objects(path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, of a folder's files, or of standard input. Raises UsageError."""
    if path != "-" and Path(path).is_dir():
        inside = sorted(one for one in Path(path).rglob("*") if one.suffix in _SUFFIXES and one.is_file())
        if not inside:
            raise UsageError(f"{path} has no {', '.join(_SUFFIXES)} file")
        for one in inside:
            yield from _objects(str(one))
        return
    try:
        documents = list(yaml.safe_load_all(given.read(path)))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{path} is not YAML{place}") from None
    for document in documents:
        if document is None:
            continue
        listed = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else [document]
        for obj in listed if isinstance(listed, list) else [listed]:
            yield _checked(obj, path)


def _checked(obj: object, path: str) -> dict[str, Any]:
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict) or not obj["metadata"].get("name"):
        raise UsageError(f"{path} holds what is no object of Kubernetes: kind and metadata.name are needed")
    if not isinstance(obj.get("spec", {}), dict | None):
        raise UsageError(f"{path}: the spec of {obj['metadata']['name']} is no object")
    return obj


def _world(cluster: Cluster, files: list[dict[str, Any]]) -> planning.World:
    """Return what the namespace has. Raises UsageError where the files are for another one."""
    from kubectl_vmext.cluster import EXTENSIONS, GOALS, MACHINES

    for obj in files:
        other = obj["metadata"].get("namespace")
        if other not in (None, cluster.namespace) and str(obj.get("apiVersion")).startswith("vmext.dev/"):
            raise UsageError(f"{obj['metadata']['name']} is for namespace {other}; plan it by -n {other}")
    return planning.World(
        machines=_keyed(cluster.list(cluster.of(MACHINES))),
        extensions=_keyed(cluster.list(cluster.of(EXTENSIONS))),
        images=_keyed(catalog.entries(cluster)),
        goals=_keyed(cluster.list(cluster.of(GOALS))),
    )


def _keyed(objects: Iterator[dict[str, Any]] | list[Object]) -> dict[Key, Object]:
    return {Key(one["metadata"].get("namespace") or "", one["metadata"]["name"]): one for one in objects}
