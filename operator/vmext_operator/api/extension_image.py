"""VirtualMachineExtensionImage: one version of one extension in the catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmext_operator.api import fields, meta, quantity
from vmext_operator.api.version import Version

PLURAL = "virtualmachineextensionimages"
KIND = "VirtualMachineExtensionImage"


@dataclass(frozen=True, slots=True)
class Package:
    """The zip of a version: where it is, and how to know it.

    Attributes:
        urls: where it is.
        sha256: in lower-case hex.
        size_bytes: of the zip.
        signature: its publisher's, base64 of Ed25519; empty for none.
    """

    urls: tuple[str, ...]
    sha256: str
    size_bytes: int
    signature: str = ""

    def render(self) -> dict[str, Any]:
        """Return the package as a GoalState has it."""
        made: dict[str, Any] = {"urls": list(self.urls), "sha256": self.sha256, "sizeBytes": self.size_bytes}
        return made | ({"signature": self.signature} if self.signature else {})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a handler's commands may use at most; None for as much as they like."""

    cpu_millicores: int | None = None
    memory_bytes: int | None = None

    def render(self) -> dict[str, Any]:
        """Return the limits as a GoalState has them."""
        return fields.without_none({"cpuMillicores": self.cpu_millicores, "memoryBytes": self.memory_bytes})


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Supports:
    """What a machine has to be, empty for whatever it is: distributions (``ubuntu:22.04``) and architectures."""

    os: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()


ANYTHING = Supports()


@dataclass(frozen=True, slots=True)
class ExtensionImage:
    """One version of one extension as the catalog offers it."""

    meta: meta.Meta
    publisher: str
    type: str
    version: Version
    package: Package
    locations: frozenset[str]
    withdrawn: bool
    enable_timeout_seconds: int | None
    multi_config: bool = False
    installs_packages: bool = True
    limits: Limits = UNLIMITED
    #: Why it is not to be chosen, for its signature; empty where it may be.
    refused: str = ""
    hotfix: bool = False
    supports: Supports = ANYTHING
    #: JSON Schemas as canonical text, empty for none.
    settings_schema: str = ""
    protected_settings_schema: str = ""
    #: Where there is something to say of it.
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def handler_name(self) -> str:
        """Return ``publisher.type`` as the catalog writes it."""
        return f"{self.publisher}.{self.type}"

    @property
    def handler_key(self) -> str:
        """Return ``publisher.type`` in lower case, as the catalog is searched by."""
        return self.handler_name.lower()


def parse_package(obj: Mapping[str, Any], path: str) -> Package:
    """Parse a package of a catalog entry or of a goal state. Raises ParseError."""
    return Package(
        urls=tuple(fields.field(obj, path, "urls", list)),
        sha256=fields.field(obj, path, "sha256", str),
        size_bytes=fields.field(obj, path, "sizeBytes", int),
        signature=fields.optional(obj, path, "signature", str) or "",
    )


def parse(obj: Mapping[str, Any]) -> ExtensionImage:
    """Parse a VirtualMachineExtensionImage. Raises ParseError."""
    spec = fields.field(obj, "object", "spec", dict)
    defaults = fields.optional(spec, "spec", "defaults", dict) or {}
    timeout = fields.optional(defaults, "spec.defaults", "enableTimeout", str)
    return ExtensionImage(
        meta=meta.parse(obj),
        publisher=fields.field(spec, "spec", "publisher", str),
        type=fields.field(spec, "spec", "type", str),
        version=Version(fields.field(spec, "spec", "version", str), "spec.version"),
        package=parse_package(fields.field(spec, "spec", "package", dict), "spec.package"),
        locations=frozenset(fields.optional(spec, "spec", "locations", list) or ()),
        withdrawn=fields.optional(spec, "spec", "withdrawn", bool) is True,
        enable_timeout_seconds=None
        if timeout is None
        else max(1, fields.seconds(timeout, "spec.defaults.enableTimeout")),
        multi_config=fields.optional(spec, "spec", "multiConfig", bool) is True,
        installs_packages=fields.optional(spec, "spec", "installsPackages", bool) is not False,
        limits=_limits(fields.optional(spec, "spec", "limits", dict) or {}),
        hotfix=fields.optional(spec, "spec", "hotfix", bool) is True,
        supports=_supports(fields.optional(spec, "spec", "supports", dict) or {}),
        settings_schema=_schema(spec, "settingsSchema"),
        protected_settings_schema=_schema(spec, "protectedSettingsSchema"),
        status=fields.optional(obj, "object", "status", dict) or {},
    )


def _supports(obj: Mapping[str, Any]) -> Supports:
    os, architectures = (
        tuple(sorted(str(one) for one in fields.optional(obj, "spec.supports", name, list) or ()))
        for name in ("os", "architectures")
    )
    return Supports(os, architectures)


def _schema(spec: Mapping[str, Any], name: str) -> str:
    schema = fields.optional(spec, "spec", name, dict)
    return "" if schema is None else json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _limits(obj: Mapping[str, Any]) -> Limits:
    cpu, memory = (fields.optional(obj, "spec.limits", name, str) for name in ("cpu", "memory"))
    return Limits(
        cpu_millicores=None if cpu is None else quantity.millicores(cpu, "spec.limits.cpu"),
        memory_bytes=None if memory is None else quantity.size(memory, "spec.limits.memory"),
    )
