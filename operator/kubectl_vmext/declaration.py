"""What ``set`` declares: from what was said, and from what stands there already. Decisions only, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_vmext.errors import TakenError, UsageError
from vmext_operator.api import API_VERSION

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class Wish:
    """What was said of an extension; None for what was not."""

    vm_name: str
    publisher: str
    type: str
    version: str
    spec: Mapping[str, Any] = field(default_factory=dict)


def name_for(vm_name: str, publisher: str | None, type_: str, on_machine: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of an extension that was given none: of the one of that type, if its machine has one already.

    Else it is called after machine and type: names are a namespace's here, and a machine's in Azure.
    Raises UsageError where the machine has several of that type, and none is called so.
    """
    default = f"{vm_name}-{type_}".lower()
    same = sorted(
        str(one["metadata"]["name"])
        for one in on_machine
        if one["spec"]["type"].lower() == type_.lower()
        and (publisher is None or one["spec"]["publisher"].lower() == publisher.lower())
    )
    if default in same or not same:
        return default
    if len(same) > 1:
        raise UsageError(f"{vm_name} has several of type {type_}: {', '.join(same)}; say --extension-instance-name")
    return same[0]


def check_name(name: str) -> None:
    """Refuse a name that no extension can have. Raises UsageError."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name} can't be the name of an extension: lower-case letters, digits, - and . only, "
            f"{MAX_NAME} characters at most; give one by --extension-instance-name"
        )


def declared(name: str, namespace: str, wish: Wish, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the extension to apply: what stands there already, with what was said put over it.

    Raises TakenError where the name is another extension's.
    """
    fixed = {"vmName": wish.vm_name, "publisher": wish.publisher, "type": wish.type}
    old: Mapping[str, Any] = {} if before is None else before["spec"]
    if before is not None:
        _refuse_another(name, old, wish, deleted="deletionTimestamp" in before["metadata"])
        # Written as it stands: these can't be changed, not even in case.
        fixed = {key: old[key] for key in fixed}
    spec = {**old, "typeHandlerVersion": wish.version, **wish.spec, **fixed}
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineExtension",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _refuse_another(name: str, old: Mapping[str, Any], wish: Wish, *, deleted: bool) -> None:
    if deleted:
        raise TakenError(f"{name} is being deleted; wait for that: kubectl vmext wait {name} --deleted")
    if old["vmName"] != wish.vm_name:
        raise TakenError(f"the name {name} is taken by an extension of {old['vmName']}; choose another one")
    same = (old["publisher"].lower(), old["type"].lower()) == (wish.publisher.lower(), wish.type.lower())
    if not same:
        raise TakenError(
            f"the name {name} is taken by {old['publisher']}.{old['type']}; choose another one, or delete it first"
        )
