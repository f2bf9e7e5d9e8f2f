"""``kubectl vmext convert``: an ARM template, or what the az command printed, to manifests."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from kubectl_vmext import catalog, given, where
from kubectl_vmext.arm import manifests, parameters, resources, template
from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.errors import INCOMPLETE, NoClusterError, NoRightsError, NotFoundError, PluginError, UsageError

_MAX_BYTES = 8 << 20


class IncompleteError(PluginError):
    """What could be carried over was printed; not all could."""

    code = INCOMPLETE


_SEVERAL = "A parameter's value, or a parameter file, as for az; several do."


@click.command("convert")
@click.argument("path", metavar="FILE")
@click.option(
    "-p",
    "--parameters",
    "--parameter",
    "words",
    multiple=True,
    metavar="NAME=VALUE|@FILE",
    help="As for az; several do.",
)
@click.option("-l", "--location", metavar="NAME", help="What resourceGroup().location stands for.")
@click.option("--secrets-file", metavar="FILE", help="Write Secrets there, readable by you alone; - prints them.")
@click.option("--offline", is_flag=True, help="Do not look into the catalog for what extensions are called there.")
@where.options
@where.pass_where
def convert(
    at: where.Where,
    path: str,
    words: tuple[str, ...],
    location: str | None,
    secrets_file: str | None,
    offline: bool,
) -> None:
    """Turn an ARM template, or the JSON that az vm extension list prints, into manifests on standard output.

    What could not be carried over is listed on standard error; the exit code is 8 then.
    """
    found, known = _found(path, words, location)
    made = manifests.make(found, known, None if offline else _handlers(at))
    if made.secrets and secrets_file is None:
        names = ", ".join(one["metadata"]["name"] for one in made.secrets)
        found.lost.append(f"Secrets of protected settings: {names}; --secrets-file FILE writes them")
    elif made.secrets and secrets_file != "-":
        _write_secret(Path(str(secrets_file)), _documents(made.secrets))
    shown = (*made.secrets, *made.objects) if secrets_file == "-" else made.objects
    print(_documents(shown), end="")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if found.others:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(found.others.items()))
        print(f"note: vmext makes no machines; left out: {counted}", file=sys.stderr)
    for lost in found.lost:
        print(f"lost: {' '.join(lost.split())}", file=sys.stderr)
    if found.lost:
        raise IncompleteError(f"{len(found.lost)} of {path} could not be carried over; see above")
    if not made.objects:
        raise NotFoundError(f"{path} has neither a virtual machine nor an extension")


def _found(path: str, words: tuple[str, ...], location: str | None) -> tuple[resources.Found, parameters.Parameters]:
    document = _document(path)
    files = [_object(word.removeprefix("@")) for word in words if _is_file(word)]
    named = dict(word.split("=", 1) for word in words if not _is_file(word))
    try:
        return template.read(document, files, named, location)
    except ArmError as error:
        raise UsageError(f"{path}: {error}") from None


def _is_file(word: str) -> bool:
    return word.startswith("@") or "=" not in word


def _document(path: str) -> Any:
    text = given.read(path)
    if len(text) > _MAX_BYTES:
        raise UsageError(f"{path} has more than {_MAX_BYTES} characters")
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON") from None


def _object(path: str) -> Mapping[str, Any]:
    return given.json_object(given.read(path).removeprefix("\ufeff"), path)


def _handlers(at: where.Where) -> frozenset[str] | None:
    try:
        return manifests.handlers(catalog.entries(at.cluster()))
    except (NoClusterError, NoRightsError, NotFoundError) as error:
        print(f"note: publishers are kept as they are, for the catalog can't be seen: {error}", file=sys.stderr)
        return None


def _documents(objects: tuple[Mapping[str, Any], ...]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=120) if objects else ""


def _write_secret(path: Path, text: str) -> None:
    """Write a file that is its owner's alone from the first byte, and there as a whole or not at all."""
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                target.write(text)
            Path(draft).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
