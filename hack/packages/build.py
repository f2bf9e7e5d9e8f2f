"""From a source folder to a zip and the catalog entry that offers it."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packages import archive, source
from packages.source import PackageError
from vmext_operator.core import signature


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


def build(folder: Path, out: Path, url_base: str, key: Ed25519PrivateKey | None = None) -> Built:
    """Build the package of one source folder into `out`, which is made if need be.

    `url_base` is the address that `out` will be served under, with or without a slash at its end; `key` is the
    publisher's, to sign with. Raises PackageError when the folder is no package source.
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
    if key is not None:
        publisher, type_ = str(package.catalog["publisher"]), str(package.catalog["type"])
        signed = key.sign(signature.text(publisher, type_, package.version, sha256, len(content)))
        manifest["spec"]["package"]["signature"] = base64.b64encode(signed).decode()
    out.mkdir(parents=True, exist_ok=True)
    zip_path, manifest_path = out / zip_name, out / f"{package.handler_name}-{package.version}.yaml"
    _replace(zip_path, content)
    _replace(manifest_path, yaml.safe_dump(manifest, sort_keys=False, width=120).encode())
    return Built(zip_path, manifest_path, manifest, sha256, len(content))


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a publisher's private key. Raises PackageError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PackageError(f"{path} can't be used as a private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PackageError(f"{path} is no key of Ed25519; make one: openssl genpkey -algorithm ED25519 -out {path}")
    return key


def build_all(folders: Iterable[Path], out: Path, url_base: str, key: Ed25519PrivateKey | None = None) -> list[Built]:
    """Build each of the folders. Raises PackageError, also when two of them make the same package."""
    built: dict[str, Built] = {}
    for folder in folders:
        package = build(folder, out, url_base, key)
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
