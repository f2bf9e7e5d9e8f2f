"""Choose the version of an extension: one list of checks, read from the top (design, section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmext_operator.api.extension_image import ExtensionImage, Supports
from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version
from vmext_operator.core.reasons import Reason

#: The names that Go and uname have for the same architectures.
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a declaration asks for, and where it is to run.

    Attributes:
        version: as declared.
        minor_upgrades: whether higher versions of the same major are asked for too.
        location: of the machine.
        guest: what its agent reported of the operating system; None where it never did.
    """

    version: Version
    minor_upgrades: bool
    location: str | None
    guest: Mapping[str, Any] | None = None

    def admits(self, version: Version) -> bool:
        """Tell whether that version is one of those asked for.

        With minor upgrades: the same major, and not below the request. Without: the request is a prefix. A new major
        comes only by asking for it.
        """
        if self.minor_upgrades:
            return version.major == self.version.major and version >= self.version
        return self.version.is_prefix_of(version)

    def takes(self, image: ExtensionImage) -> bool:
        """Tell whether that is one of those asked for, or a hotfix of one, which can't be declined."""
        return self.admits(image.version) or (
            image.hotfix and image.version.line == self.version.line and image.version >= self.version
        )


@dataclass(frozen=True, slots=True)
class Lack:
    """Why nothing could be chosen, in a word and in words."""

    reason: Reason
    message: str


def choose(request: Request, name: str, offered: Sequence[ExtensionImage], in_force: Handler | None) -> Handler | Lack:
    """Return the highest version that the request admits, or why there is none.

    Args:
        request: what is asked for.
        name: of the handler.
        offered: the catalog's entries of this one handler.
        in_force: the version that the machine was last told to have. It stays a candidate when the catalog has
            withdrawn it or lists it no longer, and whatever the machine has become: it is never taken back below what
            it runs because of that.
    """
    there = [image for image in offered if not image.locations or request.location in image.locations]
    fitting = [image for image in there if not image.withdrawn and request.takes(image)]
    asked = [image for image in fitting if not image.refused]
    candidates = {
        image.version: _handler(image.handler_name, image.version.text, image)
        for image in asked
        if supports(image.supports, request.guest)
    }
    if in_force is not None and _is_asked_for(in_force, request, offered):
        candidates.setdefault(Version(in_force.version), current(in_force, offered))
    if candidates:
        return candidates[max(candidates)]
    if not fitting:
        return Lack(Reason.UNKNOWN_IMAGE, _describe_lack(name, request, offered))
    if not asked:
        return Lack(Reason.SIGNATURE_INVALID, max(fitting, key=lambda image: image.version).refused)
    reason = Reason.AGENT_NEVER_REPORTED if request.guest is None else Reason.UNSUPPORTED_OS
    return Lack(reason, _describe_support(name, request, asked))


def stays(request: Request, in_force: Handler, offered: Sequence[ExtensionImage]) -> Handler | None:
    """Return what is in force, as the catalog has it now, where it is still what is asked for."""
    return current(in_force, offered) if _is_asked_for(in_force, request, offered) else None


def _is_asked_for(in_force: Handler, request: Request, offered: Sequence[ExtensionImage]) -> bool:
    version = Version(in_force.version)
    return request.admits(version) or any(image.version == version and request.takes(image) for image in offered)


def supports(wanted: Supports, guest: Mapping[str, Any] | None) -> bool:
    """Tell whether a machine is what a version needs; one of which nothing is known is nothing in particular."""
    facts = guest or {}
    os, version, arch = (str(facts.get(name) or "") for name in ("os", "version", "arch"))
    return (not wanted.os or any(_is_of(one, os, version) for one in wanted.os)) and (
        not wanted.architectures or _uname(arch) in {_uname(one) for one in wanted.architectures}
    )


def _is_of(wanted: str, os: str, version: str) -> bool:
    wanted_os, _, wanted_version = wanted.partition(":")
    return wanted_os == os and (not wanted_version or f"{version}.".startswith(f"{wanted_version}."))


def _uname(architecture: str) -> str:
    return _ARCHITECTURES.get(architecture, architecture)


def current(handler: Handler, offered: Sequence[ExtensionImage]) -> Handler:
    """Return the handler as the catalog has it now: a version stays what it is; its zip may move, its limits change."""
    for image in offered:
        is_it = image.version == Version(handler.version) and image.package.sha256 == handler.package.sha256
        if is_it and not image.refused:
            return _handler(handler.name, handler.version, image)
    return handler


def _handler(name: str, version: str, image: ExtensionImage) -> Handler:
    return Handler(name, version, image.package, image.multi_config, image.installs_packages, image.limits)


def _describe_support(name: str, request: Request, asked: Sequence[ExtensionImage]) -> str:
    """Say which machines could have what is asked for, and what this one is."""
    listed = "; ".join(
        f"{image.version} is for "
        + ", ".join(part for part in (", ".join(image.supports.os), ", ".join(image.supports.architectures)) if part)
        for image in sorted(asked, key=lambda image: image.version)[-5:]
    )
    if request.guest is None:
        return f"{name} {listed}; what the machine is, its agent has not reported yet"
    facts = [str(request.guest.get(part)) for part in ("os", "version", "arch") if request.guest.get(part)]
    return f"{name} {listed}; the machine is {' '.join(facts) or 'of an unknown kind'}"


def _describe_lack(name: str, request: Request, offered: Sequence[ExtensionImage]) -> str:
    """Say why nothing could be chosen and what to do."""
    if not offered:
        return f"the catalog has no {name}; add a VirtualMachineExtensionImage for it, or correct publisher and type"
    listed = ", ".join(
        f"{image.version}"
        + (" (withdrawn)" if image.withdrawn else "")
        + (f" (only in {', '.join(sorted(image.locations))})" if image.locations else "")
        for image in sorted(offered, key=lambda image: image.version)[-10:]
    )
    exact = "" if request.minor_upgrades else ", and autoUpgradeMinorVersion is false"
    return f"the catalog has {name} in {listed}, but typeHandlerVersion is {request.version}{exact}"
