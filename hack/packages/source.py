"""A package's source folder: what is in it, what goes into the zip, and whether an agent could run it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

CATALOG_FILE = "extension.yaml"
HANDLER_MANIFEST = "HandlerManifest.json"

# As crds/virtualmachineextensionimages.yaml has them; the API server would refuse anything else later.
_NAME = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){1,3}")
REQUIRED_FIELDS = ("publisher", "type", "version")
OPTIONAL_FIELDS = (
    "description",
    "locations",
    "supports",
    "hotfix",
    "withdrawn",
    "defaults",
    "multiConfig",
    "installsPackages",
    "limits",
    "settingsSchema",
    "protectedSettingsSchema",
)

_COMMANDS = ("installCommand", "enableCommand", "disableCommand", "uninstallCommand", "updateCommand")
_SWITCHES = ("reportHeartbeat", "continueOnUpdateFailure", "supportsMultipleExtensions")


class PackageError(Exception):
    """A source folder that no package can be made of; the message names file, field and remedy."""


@dataclass(frozen=True)
class Source:
    """A checked source folder.

    Attributes:
        catalog: the spec of the catalog entry as extension.yaml has it, all but ``package``.
        files: what goes into the zip by its name in there, in the order of the names.
    """

    catalog: Mapping[str, Any]
    files: Mapping[PurePosixPath, Path]

    @property
    def handler_name(self) -> str:
        """Return ``publisher.type``."""
        return f"{self.catalog['publisher']}.{self.catalog['type']}"

    @property
    def version(self) -> str:
        """Return the version."""
        return str(self.catalog["version"])


def read(folder: Path) -> Source:
    """Read and check a source folder. Raises PackageError."""
    if not folder.is_dir():
        raise PackageError(f"{folder} is not a folder")
    files = dict(sorted((PurePosixPath(path.relative_to(folder)), path) for path in _packed(folder, folder)))
    catalog = _catalog(folder / CATALOG_FILE)
    _check_handler_manifest(folder / HANDLER_MANIFEST, files)
    return Source(catalog, files)


def _packed(folder: Path, root: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        # What tools leave behind, in a checkout's .gitignore for the same reason.
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise PackageError(f"{path} is neither a file nor a folder; agents unpack nothing else, so copy what it is")
        if path.is_dir():
            yield from _packed(path, root)
        elif path != root / CATALOG_FILE:
            yield path


def _catalog(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path} is missing; it says publisher, type and version of the package") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PackageError(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise PackageError(f"{path} is not a mapping of fields")
    for name in REQUIRED_FIELDS:
        pattern = _VERSION if name == "version" else _NAME
        value = document.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            form = "a string of two to four numbers, such as '1.0.0'" if name == "version" else "letters and digits"
            raise PackageError(f"{path}: {name} is {value!r}; it must be {form}")
    unknown = sorted(set(document) - {*REQUIRED_FIELDS, *OPTIONAL_FIELDS}, key=str)
    if unknown:
        raise PackageError(f"{path}: {unknown[0]} is no field of a catalog entry that a package source can set")
    return document


def _check_handler_manifest(path: Path, files: Mapping[PurePosixPath, Path]) -> None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path} is missing; it says which commands an agent runs") from None
    except ValueError as error:
        raise PackageError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        raise PackageError(f"{path} is not an array with an object in it")
    manifest = document[0].get("handlerManifest")
    if not isinstance(manifest, dict):
        raise PackageError(f"{path}: [0].handlerManifest is not an object")
    for name in _COMMANDS:
        _check_command(f"{path}: {name}", manifest.get(name), files)
    for name in _SWITCHES:
        if not isinstance(manifest.get(name, False), bool):
            raise PackageError(f"{path}: {name} is {manifest[name]!r}; it must be true or false")
    if not isinstance(manifest.get("updateMode", ""), str):
        raise PackageError(f"{path}: updateMode is {manifest['updateMode']!r}; it must be a string")


def _check_command(where: str, command: object, files: Mapping[PurePosixPath, Path]) -> None:
    if not isinstance(command, str) or not command.strip():
        raise PackageError(f"{where} is {command!r}; it must be a command, also where it has nothing to do")
    try:
        program = shlex.split(command)[0]
    except ValueError as error:
        raise PackageError(f"{where} is no command of a shell: {error}") from None
    # An agent puts the install folder and a slash before the command.
    if PurePosixPath(program.lstrip("/")) not in files:
        raise PackageError(f"{where} runs {program}, which is not in the package")
