"""``kubectl vmext instance-view`` and ``logs``: what a machine says of its extensions."""

from __future__ import annotations

import click

from kubectl_vmext import azure_view, chosen, completion, output, transcript, where
from kubectl_vmext.errors import UsageError

_TABLE = (
    "instanceView.extensions[].{name: name, type: type, version: typeHandlerVersion, status: statuses[0].displayStatus}"
)


@click.command("instance-view")
@click.argument("vm", required=False, shell_complete=completion.machines)
@completion.machine_option(
    "--name",
    "--vm-name",
    "named",
    help="The machine, as az's --name.",
)
@where.options
@output.options("json")
@where.pass_where
def instance_view(at: where.Where, vm: str | None, named: str | None, form: str, query: str | None) -> None:
    """Show a machine, its agent and its extensions, as az vm get-instance-view does."""
    if not (vm or named) or (vm and named and vm != named):
        raise UsageError("which machine? give its name once")
    cluster, name = at.cluster(), str(vm or named)
    machine = chosen.machine(cluster, name)
    view = azure_view.machine(machine, chosen.on_machine(cluster, name))
    if form == "table" and query is None:
        query = _TABLE
    output.show(view, form, query)


@click.command("logs")
@chosen.options
@where.options
@where.pass_where
def logs(at: where.Where, name: str | None, named: str | None, vm_name: str | None) -> None:
    """Print what the status keeps of an extension's output, and where the rest of it is on the machine."""
    found = chosen.extension(at.cluster(), chosen.name_of(name, named), vm_name)
    print(output.printable(transcript.of(found)), end="")
