"""Choose the version of an extension: one list of checks, read from the top (design, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version


@dataclass(frozen=True, slots=True)
class Request:
    """What a declaration asks for, and where it is to run."""

    version: Version
    minor_upgrades: bool
    location: str | None

    def admits(self, version: Version) -> bool:
        """Tell whether that version is one of those asked for.

        With minor upgrades: the same major, and not below the request. Without: the request is a prefix, so that
        hotfixes always come. A new major comes only by asking for it.
        """
        if self.minor_upgrades:
            return version.major == self.version.major and version >= self.version
        return self.version.is_prefix_of(version)


def choose(request: Request, offered: Sequence[ExtensionImage], in_force: Handler | None) -> Handler | None:
    """Return the highest version that the request admits, or None where there is none.

    Args:
        request: what is asked for.
        offered: the catalog's entries of this one handler.
        in_force: the version that the machine was last told to have. It stays a candidate when the catalog has
            withdrawn it or lists it no longer: a machine is never taken back below what it runs because of that.
    """
    candidates = {
        image.version: _handler(image.handler_name, image.version.text, image)
        for image in offered
        if not image.refused and _is_offered(image, request)
    }
    if in_force is not None:
        candidates.setdefault(Version(in_force.version), current(in_force, offered))
    return max(
        ((version, handler) for version, handler in candidates.items() if request.admits(version)),
        key=lambda candidate: candidate[0],
        default=(None, None),
    )[1]


def _is_offered(image: ExtensionImage, request: Request) -> bool:
    return not image.withdrawn and (not image.locations or request.location in image.locations)


def describe_refusal(request: Request, offered: Sequence[ExtensionImage]) -> str:
    """Say why what would have been chosen is not, for its signature; empty where it is not for that."""
    fitting = [image for image in offered if _is_offered(image, request) and request.admits(image.version)]
    return max(fitting, key=lambda image: image.version).refused if fitting else ""


def current(handler: Handler, offered: Sequence[ExtensionImage]) -> Handler:
    """Return the handler as the catalog has it now: a version stays what it is; its zip may move, its limits change."""
    for image in offered:
        is_it = image.version == Version(handler.version) and image.package.sha256 == handler.package.sha256
        if is_it and not image.refused:
            return _handler(handler.name, handler.version, image)
    return handler


def _handler(name: str, version: str, image: ExtensionImage) -> Handler:
    return Handler(name, version, image.package, image.multi_config, image.installs_packages, image.limits)


def describe_lack(name: str, request: Request, offered: Sequence[ExtensionImage]) -> str:
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
