"""Which cluster a command is for: the options that kubectl has, on every command and before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster

F = TypeVar("F", bound=Callable[..., object])


class Where:
    """What was said of the cluster; it is looked for when a command first needs it."""

    def __init__(self) -> None:
        self.kubeconfig: str | None = None
        self.context: str | None = None
        self.namespace: str | None = None
        self._cluster: Cluster | None = None

    def cluster(self) -> Cluster:
        """Return the cluster. Raises NoClusterError."""
        # The client takes half a second to load: what needs no cluster does not wait for it.
        from kubectl_vmext import cluster

        if self._cluster is None:
            self._cluster = cluster.Cluster(self.kubeconfig, self.context, self.namespace)
        return self._cluster


def options(command: F) -> F:
    """Give a command kubectl's options for the cluster; they end up in the context's Where."""
    for decorate in (
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig, as for kubectl.", **_kept()),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig.", **_kept()),
        click.option("-g", "--resource-group", "namespace", metavar="NAME", hidden=True, **_kept()),
        click.option("-n", "--namespace", metavar="NAME", help="Namespace, as for kubectl.", **_kept()),
    ):
        command = decorate(command)
    return command


def _kept() -> dict[str, Any]:
    return {"expose_value": False, "callback": _keep}


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    where = context.ensure_object(Where)
    if value is not None and parameter.name is not None:
        setattr(where, parameter.name, value)


pass_where = click.make_pass_decorator(Where, ensure=True)
