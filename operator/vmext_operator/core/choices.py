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
            before, lost = self._declared.before(extension), self._declared.lost(extension)
            if before is not None and extension.meta.deleted is not None:
                self._found[uid] = before.handler
            else:
                self._found[uid] = lost or self._choose(extension)
        return self._found[uid]

    def handler(self, extension: VirtualMachineExtension) -> Handler | None:
        """Return the version, or None where there is none."""
        found = self.of(extension)
        return found if isinstance(found, Handler) else None

    def admits(self, extension: VirtualMachineExtension, version: Version) -> bool:
        """Tell whether an extension asks for that version among others."""
        offered = self._declared.catalog.get(extension.handler_key, ())
        request = self._request(extension)
        return request.admits(version) or any(one.version == version and request.takes(one) for one in offered)

    def _request(self, extension: VirtualMachineExtension) -> version_choice.Request:
        report = self._declared.report
        return version_choice.Request(
            extension.type_handler_version,
            extension.auto_upgrade_minor_version,
            self._declared.machine.location,
            report.guest if report is not None and report.guest else None,
        )

    def _choose(self, extension: VirtualMachineExtension) -> Handler | verdict.Held:
        declared, before = self._declared, self._declared.before(extension)
        offered = declared.catalog.get(extension.handler_key, ())
        in_force = before.handler if before is not None else None
        request = self._request(extension)
        if in_force is not None and not self._choose_anew and not extension.enable_automatic_upgrade:
            # A request that could not be met when the model changed is still to be met: what is in force is no answer.
            kept = version_choice.stays(request, in_force, offered)
            if kept is not None:
                return kept
        chosen = version_choice.choose(request, f"{extension.publisher}.{extension.type}", offered, in_force)
        if isinstance(chosen, Handler):
            return chosen
        if chosen.reason is Reason.AGENT_NEVER_REPORTED:
            return verdict.awaits_machine(chosen.reason, chosen.message)
        patience_s = CATALOG_PATIENCE_S if chosen.reason is Reason.UNKNOWN_IMAGE else 0.0
        return verdict.stalls(chosen.reason, chosen.message, after_s=patience_s)
