"""What is on a machine and declared nowhere: which of it, and what becomes of it when somebody declares it.

It is taken over by declaring it. An extension that is declared for it and deleted uninstalls it, also where the catalog
has no such version (any more); nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmext_operator.api.conditions import Condition
from vmext_operator.api.extension_image import ExtensionImage, Package
from vmext_operator.api.goal_state import Handler, Report, Undeclared
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core.reasons import Reason

#: As many are named in the condition; status.undeclared has them all.
_NAMED = 5
#: Of what is not in the catalog: removing it needs no package, and the form of an entry one.
_NO_PACKAGE = Package((), "0" * 64, 1)


def of_machine(report: Report | None, extensions: Sequence[VirtualMachineExtension]) -> tuple[Undeclared, ...]:
    """Return what a machine reports as undeclared and no extension is declared for, held back ones included."""
    reported = report.undeclared if report is not None else ()
    return tuple(one for one in reported if not any(_is_for(extension, one) for extension in extensions))


def claimed(report: Report | None, extensions: Sequence[VirtualMachineExtension]) -> frozenset[str]:
    """Return the UIDs of the extensions that are declared for what a machine reports as undeclared."""
    reported = report.undeclared if report is not None else ()
    return frozenset(one.meta.uid for one in extensions if any(_is_for(one, other) for other in reported))


def handler_of(
    extension: VirtualMachineExtension,
    report: Report | None,
    extensions: Sequence[VirtualMachineExtension],
    offered: Sequence[ExtensionImage],
) -> Handler | None:
    """Return what a machine has on it of an extension that is to leave and was never in its goal, None for nothing.

    Args:
        extension: that is to leave.
        report: what its machine reported.
        extensions: all of its machine.
        offered: the catalog's entries of its handler.
    """
    reported = report.undeclared if report is not None else ()
    found = next((one for one in reported if _is_for(extension, one)), None)
    if found is None:
        return None
    staying = [one for one in extensions if one.meta.deleted is None and one.meta.uid != extension.meta.uid]
    if any(_is_for(one, found) for one in staying):
        # It is that one's now.
        return None
    image = next((one for one in offered if one.version.text == found.version), None)
    package = _NO_PACKAGE if image is None else image.package
    return Handler(found.handler, found.version, package, found.multi_config)


def condition(machine: str, found: Sequence[Undeclared]) -> tuple[Condition, ...]:
    """Return the condition that names what is undeclared; none where nothing is."""
    if not found:
        return ()
    named = ", ".join(_shown(one) for one in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more (status.undeclared)" if len(found) > _NAMED else ""
    message = (
        f"on {machine} and declared nowhere: {named}{more}. It is left alone. Declare it to take it over, or have it "
        f"removed: kubectl vmext remove-undeclared {machine} {found[0].handler}"
    )
    return (Condition("Undeclared", "True", Reason.NOT_DECLARED.value, message),)


def _shown(one: Undeclared) -> str:
    return f"{one.handler} {one.version}" + (f" ({one.extension})" if one.extension else "")


def _is_for(extension: VirtualMachineExtension, one: Undeclared) -> bool:
    """Tell whether an extension is declared for that: by its handler, and by its name where that takes several."""
    same = extension.handler_key == one.handler.lower()
    return same and (not one.multi_config or extension.meta.key.name == one.extension)
