"""What an extension package says of itself: enough for its catalog entry."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kubectl_vmext.errors import UsageError

HANDLER_MANIFEST = "HandlerManifest.json"
_COMMANDS = ("installCommand", "enableCommand", "disableCommand", "uninstallCommand", "updateCommand")
#: As agents name packages.
_FILE_NAME = re.compile(
    r"(?P<publisher>[A-Za-z0-9.]+)\.(?P<type>[A-Za-z0-9]+)__(?P<version>[0-9]+(\.[0-9]+){1,3})\.zip"
)
_MANIFEST_BYTES = 1 << 20
_ENTRIES = 20_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A package that an agent could take.

    Attributes:
        sha256: of the zip, in lower-case hex.
        size_bytes: of the zip.
        multi_config: whether one machine can have several extensions of it.
        named: publisher, type and version by the name of the file; empty where that has another form.
    """

    sha256: str
    size_bytes: int
    multi_config: bool
    named: Mapping[str, str]


def read(path: Path) -> PackageFile:
    """Read a package. Raises UsageError."""
    try:
        with path.open("rb") as source:
            sha256, size = _digest(source)
            manifest = _manifest(path, source)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
    named = _FILE_NAME.fullmatch(path.name)
    return PackageFile(
        sha256, size, _is_true(manifest.get("supportsMultipleExtensions")), named.groupdict() if named else {}
    )


def entry(package: PackageFile, urls: tuple[str, ...], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog entry of a package. Raises UsageError where it is not known what it is.

    Args:
        package: as it was read.
        urls: where machines find it.
        spec: fields of the entry that were given; they win over the file's name.
    """
    known = {**package.named, **{name: value for name, value in spec.items() if value is not None}}
    missing = [name for name in ("publisher", "type", "version") if not known.get(name)]
    if missing:
        options = " ".join(f"--{name}" for name in missing)
        raise UsageError(f"the file is not named <publisher>.<type>__<version>.zip; give {options}")
    if package.multi_config:
        known.setdefault("multiConfig", True)
    order = ("publisher", "type", "version")
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "VirtualMachineExtensionImage",
        "metadata": {"name": f"{known['publisher']}.{known['type']}-{known['version']}".lower()},
        "spec": {
            **{name: known[name] for name in order},
            **{name: value for name, value in known.items() if name not in order},
            "package": {"urls": list(urls), "sha256": package.sha256, "sizeBytes": package.size_bytes},
        },
    }


def _digest(source: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _manifest(path: Path, source: BinaryIO) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            if len(names) > _ENTRIES:
                raise UsageError(f"{path} holds {len(names)} files; agents take at most {_ENTRIES}")
            found = min((name for name in names if name.split("/")[-1] == HANDLER_MANIFEST), key=_depth, default=None)
            if found is None:
                raise UsageError(f"{path} holds no {HANDLER_MANIFEST}; it is no extension package")
            with archive.open(found) as member:
                content = member.read(_MANIFEST_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"{path} is no zip that an agent could unpack: {error}") from None
    if len(content) > _MANIFEST_BYTES:
        raise UsageError(f"{HANDLER_MANIFEST} in {path} is larger than {_MANIFEST_BYTES} bytes")
    return _checked(path, content)


def _checked(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content.decode("utf-8-sig"))
        manifest = document[0]["handlerManifest"]
        lacking = [name for name in _COMMANDS if not isinstance(manifest[name], str) or not manifest[name].strip()]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"[:200]
        raise UsageError(f"{HANDLER_MANIFEST} in {path} does not name the five commands ({said})") from None
    if lacking:
        raise UsageError(f"{HANDLER_MANIFEST} in {path}: {lacking[0]} is no command")
    found: Mapping[str, Any] = manifest
    return found


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name
