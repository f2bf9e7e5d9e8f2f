"""What ``remove-undeclared`` declares only to delete it. Decisions only, no I/O.

What is on a machine and declared nowhere is removed as everything else is: by deleting an extension that is declared
for it. This one waits for what never comes, so that nothing of it is begun before it is deleted; and it has the
operator's finalizer from the start, so that its deletion waits for the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_vmext.errors import NotFoundError, UsageError
from vmext_operator.api import API_VERSION
from vmext_operator.api.virtual_machine_extension import FINALIZER

NEVER = "only-to-be-removed"
_MAX_NAME = 80
_VERSION = re.compile(r"(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){0,3}")


def pick(machine: Mapping[str, Any], handler: str, extension: str | None) -> Mapping[str, Any]:
    """Return what is meant of what a machine's status lists as undeclared. Raises NotFoundError, UsageError."""
    name, listed = machine["metadata"]["name"], of(machine)
    found = [one for one in listed if one["handler"].lower() == handler.lower()]
    if extension is not None:
        found = [one for one in found if one.get("extension") == extension]
    if not found:
        had = ", ".join(sorted({str(one["handler"]) for one in listed})) or "nothing"
        raise NotFoundError(f"{name} reports {had} that is declared nowhere, and no {extension or handler}")
    if len(found) > 1:
        names = ", ".join(str(one.get("extension")) for one in found)
        raise UsageError(f"{name} has several extensions of {handler}: {names}; give one by --extension")
    return found[0]


def of(machine: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what a machine's status lists as undeclared."""
    return (machine.get("status") or {}).get("undeclared") or ()


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two speak of the same thing on a machine."""
    several = one.get("multiConfig") or other.get("multiConfig")
    same = one["handler"].lower() == other["handler"].lower()
    return same and (not several or one.get("extension") == other.get("extension"))


def name_for(one: Mapping[str, Any], vm: str) -> str:
    """Return the name to declare it by: its own where its handler takes several, else one of machine and type.

    That does not clash with one that somebody declares for it meanwhile.
    """
    own = one.get("extension")
    if one.get("multiConfig") and own:
        return str(own)
    type_ = str(one["handler"]).rpartition(".")[2]
    return f"remove-{vm}-{type_}".lower()[:_MAX_NAME].rstrip(".-")


def declared(name: str, namespace: str, vm: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extension to create and delete. Raises UsageError."""
    publisher, _, type_ = str(one["handler"]).rpartition(".")
    if not publisher:
        raise UsageError(f"{one['handler']} is no <publisher>.<type>, and can't be declared; remove it on {vm} itself")
    version = str(one["version"])
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineExtension",
        "metadata": {"name": name, "namespace": namespace, "finalizers": [FINALIZER]},
        "spec": {
            "vmName": vm,
            "publisher": publisher,
            "type": type_,
            "typeHandlerVersion": version if _VERSION.fullmatch(version) else "0",
            "dependsOn": [NEVER],
        },
    }
