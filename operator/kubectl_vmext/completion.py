"""Completion: for kubectl itself, which asks ``kubectl_complete-vmext``, and for shells that call the file directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from kubectl_vmext.errors import PluginError
from kubectl_vmext.where import Where

F = TypeVar("F", bound=Callable[..., object])
PROGRAM = "kubectl-vmext"
VARIABLE = "_KUBECTL_VMEXT_COMPLETE"
#: What cobra, kubectl's own library, reads on the last line: take these, and no file names besides.
_NO_FILES = ":4"


def source(group: click.Group, shell: str) -> str:
    """Return the script that teaches a shell to complete ``kubectl-vmext``."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    return kind(group, {}, PROGRAM, VARIABLE).source()


def for_kubectl(group: click.Group, words: Sequence[str]) -> str:
    """Return candidates as kubectl takes them from a plugin.

    Args:
        group: all commands.
        words: what stands after ``kubectl vmext``, the last one as far as it is typed.
    """
    *done, last = words or ("",)
    found = ShellComplete(group, {}, PROGRAM, VARIABLE).get_completions(list(done), last)
    lines = [f"{one.value}\t{one.help}" if one.help else str(one.value) for one in found]
    return "\n".join([*lines, _NO_FILES]) + "\n"


def machine_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Return an option that takes a machine's name, and offers those that there are."""
    return click.option(*names, metavar="VM", shell_complete=machines, **settings)


def machines(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the machines of the namespace that begin so."""
    from kubectl_vmext.cluster import MACHINES

    return _names(context, MACHINES, incomplete)


def extensions(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the extensions of the namespace that begin so."""
    from kubectl_vmext.cluster import EXTENSIONS

    return _names(context, EXTENSIONS, incomplete)


def _names(context: click.Context, plural: str, incomplete: str) -> list[CompletionItem]:
    try:
        cluster = context.ensure_object(Where).cluster()
        names = [str(one["metadata"]["name"]) for one in cluster.list(cluster.of(plural))]
    except PluginError:
        # Whoever presses a key wants no error: there is nothing to offer.
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
