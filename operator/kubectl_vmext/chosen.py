"""Which extension is meant: by its own name, or as the az command says it, by its machine and its type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kubectl_vmext import completion
from kubectl_vmext.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster, Object

F = TypeVar("F", bound=Callable[..., object])


def options(command: F) -> F:
    """Give a command ``[NAME]``, ``--name`` and ``--vm-name``."""
    command = completion.machine_option("--vm-name", help="Machine that the extension is on.")(command)
    described = "Name of the extension, or with --vm-name its type. NAME alone does as well."
    command = click.option("--name", "named", metavar="NAME", help=described)(command)
    return click.argument("name", required=False, shell_complete=completion.extensions)(command)


def name_of(name: str | None, named: str | None) -> str:
    """Return the one name that was given. Raises UsageError."""
    if name and named and name != named:
        raise UsageError(f"NAME is {name} and --name is {named}; give one of them")
    found = name or named
    if not found:
        raise UsageError("which extension? give its NAME, or --vm-name and --name")
    return found


def extension(cluster: Cluster, name: str, vm_name: str | None) -> Object:
    """Return the extension that is meant. Raises NotFoundError, UsageError, PluginError."""
    from kubectl_vmext.cluster import EXTENSIONS

    if vm_name is None:
        found = cluster.get(cluster.of(EXTENSIONS, name))
        if found is None:
            raise NotFoundError(
                f"namespace {cluster.namespace} has no VirtualMachineExtension {name}; see kubectl vmext list"
            )
        return found
    machine(cluster, vm_name)
    return pick(on_machine(cluster, vm_name), name, vm_name)


def pick(extensions: Sequence[Object], name: str, vm_name: str) -> Object:
    """Return that extension of a machine which has the name, else the one which has the type."""
    by_name = [one for one in extensions if one["metadata"]["name"] == name]
    by_type = [one for one in extensions if name.lower() in (_type(one), f"{_publisher(one)}.{_type(one)}")]
    candidates = by_name or by_type
    if not candidates:
        had = ", ".join(sorted(one["metadata"]["name"] for one in extensions)) or "none"
        raise NotFoundError(f"{vm_name} has no extension {name}; it has {had}")
    if len(candidates) > 1:
        names = ", ".join(sorted(one["metadata"]["name"] for one in candidates))
        raise UsageError(f"{vm_name} has several of type {name}: {names}; give one's own name")
    return candidates[0]


def on_machine(cluster: Cluster, vm_name: str) -> list[Object]:
    """Return the extensions that are declared for a machine. Raises PluginError."""
    from kubectl_vmext.cluster import EXTENSIONS

    return list(cluster.list(cluster.of(EXTENSIONS), fieldSelector=f"spec.vmName={vm_name}"))


def machine(cluster: Cluster, name: str) -> Object:
    """Return a machine. Raises NotFoundError, PluginError."""
    from kubectl_vmext.cluster import MACHINES

    found = cluster.get(cluster.of(MACHINES, name))
    if found is None:
        raise NotFoundError(
            f"namespace {cluster.namespace} has no VirtualMachine {name}; see kubectl get xvm -n {cluster.namespace}"
        )
    return found


def names(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the objects' names."""
    return [str(one["metadata"]["name"]) for one in objects]


def _type(one: Mapping[str, Any]) -> str:
    return str(one["spec"]["type"]).lower()


def _publisher(one: Mapping[str, Any]) -> str:
    return str(one["spec"]["publisher"]).lower()
