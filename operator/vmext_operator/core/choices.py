"""Which version of its handler each extension of a machine would have by itself."""

from __future__ import annotations

from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import verdict, version_choice
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason

#: A catalog entry may come in the same commit as what asks for it, a little later.
CATALOG_PATIENCE_S = 60.0


class Choices:
    """The choices of one machine, each made once.

    Args:
        declared: what they are made from.
        choose_anew: whether something was declared differently since they were made last.
    """

    def __init__(self, declared: Declared, *, choose_anew: bool) -> None:
        self._declared = declared
        self._choose_anew = choose_anew
        self._found: dict[str, Handler | verdict.Held] = {}

    def of(self, extension: VirtualMachineExtension) -> Handler | verdict.Held:
        """Return the version, or why there is none."""
        uid = extension.meta.uid
        if uid not in self._found:
            before = self._declared.before(extension)
            leaves = extension.meta.deleted is not None and before is not None
            self._found[uid] = before.handler if leaves and before is not None else self._choose(extension)
        return self._found[uid]

    def handler(self, extension: VirtualMachineExtension) -> Handler | None:
        """Return the version, or None where there is none."""
        found = self.of(extension)
        return found if isinstance(found, Handler) else None

    def admits(self, extension: VirtualMachineExtension, version: Version) -> bool:
        """Tell whether an extension asks for that version among others."""
        return self._request(extension).admits(version)

    def _request(self, extension: VirtualMachineExtension) -> version_choice.Request:
        return version_choice.Request(
            extension.type_handler_version, extension.auto_upgrade_minor_version, self._declared.machine.location
        )

    def _choose(self, extension: VirtualMachineExtension) -> Handler | verdict.Held:
        declared, before = self._declared, self._declared.before(extension)
        offered = declared.catalog.get(extension.handler_key, ())
        in_force = before.handler if before is not None else None
        request = self._request(extension)
        stays = in_force is not None and not self._choose_anew and not extension.enable_automatic_upgrade
        # A request that could not be met when the model changed is still to be met: the version before it is no answer.
        if stays and in_force is not None and request.admits(Version(in_force.version)):
            return version_choice.current(in_force, offered)
        chosen = version_choice.choose(request, offered, in_force)
        if chosen is not None:
            return chosen
        refused = version_choice.describe_refusal(request, offered)
        if refused:
            return verdict.stalls(Reason.SIGNATURE_INVALID, refused)
        name = f"{extension.publisher}.{extension.type}"
        return verdict.stalls(
            Reason.UNKNOWN_IMAGE, version_choice.describe_lack(name, request, offered), after_s=CATALOG_PATIENCE_S
        )
