"""From a source folder to a zip and the catalog entry that offers it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from packages import archive, source
from packages.source import PackageError


@dataclass(frozen=True)
class Built:
    """A package that was built.

    Attributes:
        zip_path: the zip, ``<publisher>.<type>__<version>.zip``, named as agents name it.
        manifest_path: the same as ``manifest``, as YAML.
        manifest: a VirtualMachineExtensionImage, to be applied as it is.
        sha256: of the zip, in lower-case hex.
        size: of the zip, in bytes.
    """

    zip_path: Path
    manifest_path: Path
    manifest: dict[str, Any]
    sha256: str
    size: int


def build(folder: Path, out: Path, url_base: str) -> Built:
    """Build the package of one source folder into `out`, which is made if need be.

    `url_base` is the address that `out` will be served under, with or without a slash at its end.
    Raises PackageError when the folder is no package source.
    """
    if not url_base.startswith(("http://", "https://")):
        raise PackageError(f"the address {url_base!r} does not start with http:// or https://")
    package = source.read(folder)
    buffer = io.BytesIO()
    archive.write(buffer, package.files)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    zip_name = f"{package.handler_name}__{package.version}.zip"
    manifest: dict[str, Any] = {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "VirtualMachineExtensionImage",
        "metadata": {"name": f"{package.handler_name}-{package.version}".lower()},
        "spec": {
            **package.catalog,
            "package": {"urls": [f"{url_base.rstrip('/')}/{zip_name}"], "sha256": sha256, "sizeBytes": len(content)},
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    zip_path, manifest_path = out / zip_name, out / f"{package.handler_name}-{package.version}.yaml"
    _replace(zip_path, content)
    _replace(manifest_path, yaml.safe_dump(manifest, sort_keys=False, width=120).encode())
    return Built(zip_path, manifest_path, manifest, sha256, len(content))


def build_all(folders: Iterable[Path], out: Path, url_base: str) -> list[Built]:
    """Build each of the folders. Raises PackageError, also when two of them make the same package."""
    built: dict[str, Built] = {}
    for folder in folders:
        package = build(folder, out, url_base)
        name = package.manifest["metadata"]["name"]
        if name in built:
            raise PackageError(f"{folder}: another folder makes {name} too; raise the version of one of them")
        built[name] = package
    return list(built.values())


def _replace(path: Path, content: bytes) -> None:
    # Someone may be downloading the old one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
