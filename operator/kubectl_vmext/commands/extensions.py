"""``list``, ``show``, ``delete`` and ``wait``, by the words of ``az vm extension``; and ``remove-undeclared``."""

from __future__ import annotations

import click

from kubectl_vmext import azure_view, chosen, completion, output, undeclared, waiting, where
from kubectl_vmext.errors import PluginError, TakenError, UsageError

COLUMNS = ("name", "vmName", "provisioningState", "publisher", "typePropertiesType", "typeHandlerVersion")
_TIME = waiting.Duration()


@click.command("list")
@completion.machine_option("--vm-name", help="Those of this machine.")
@where.options
@output.options("table")
@where.pass_where
def list_(at: where.Where, vm_name: str | None, form: str, query: str | None) -> None:
    """List extensions: those of a machine, or of all machines of the namespace."""
    from kubectl_vmext.cluster import EXTENSIONS

    cluster = at.cluster()
    if vm_name is None:
        found = list(cluster.list(cluster.of(EXTENSIONS)))
        shown = [azure_view.extension(one) for one in found]
    else:
        machine = chosen.machine(cluster, vm_name)
        shown = [azure_view.extension(one, machine) for one in chosen.on_machine(cluster, vm_name)]
    output.show(sorted(shown, key=lambda one: (one["vmName"], one["name"])), form, query, COLUMNS)


@click.command("show")
@chosen.options
@click.option("--instance-view", is_flag=True, help="With what the machine says of it.")
@where.options
@output.options("json")
@where.pass_where
def show(
    at: where.Where,
    name: str | None,
    named: str | None,
    vm_name: str | None,
    instance_view: bool,
    form: str,
    query: str | None,
) -> None:
    """Show an extension, as az vm extension show does."""
    from kubectl_vmext.cluster import MACHINES

    cluster = at.cluster()
    found = chosen.extension(cluster, chosen.name_of(name, named), vm_name)
    machine = cluster.get(cluster.of(MACHINES, found["spec"]["vmName"]))
    output.show(azure_view.extension(found, machine, with_view=instance_view), form, query, COLUMNS)


@click.command("delete")
@chosen.options
@click.option("--no-wait", is_flag=True, help="Return at once; the machine uninstalls it meanwhile.")
@click.option("--timeout", type=_TIME, default="35m", show_default=True, help="How long to wait.")
@click.option("-y", "--yes", is_flag=True, hidden=True, expose_value=False, help="As for az: nobody is asked here.")
@where.options
@where.pass_where
def delete(
    at: where.Where, name: str | None, named: str | None, vm_name: str | None, no_wait: bool, timeout: float
) -> None:
    """Delete an extension: its machine uninstalls it first."""
    from kubectl_vmext.cluster import EXTENSIONS

    cluster = at.cluster()
    found = chosen.extension(cluster, chosen.name_of(name, named), vm_name)
    own = found["metadata"]["name"]
    cluster.delete(cluster.of(EXTENSIONS, own))
    if no_wait:
        print(f"{own} is being deleted")
        return
    waiting.until_deleted(cluster, own, timeout)
    print(_deleted(own, waiting.event_of_deletion(cluster, found)))


def _deleted(name: str, message: str) -> str:
    return f"{name} is deleted" + (f": {output.printable(message)}" if message else "")


@click.command("remove-undeclared")
@click.argument("vm_name", metavar="VM", shell_complete=completion.machines)
@click.argument("handler", metavar="HANDLER")
@click.option("--extension", metavar="NAME", help="Which one, of a handler that takes several.")
@click.option("--timeout", type=_TIME, default="35m", show_default=True, help="How long to wait.")
@where.options
@where.pass_where
def remove_undeclared(at: where.Where, vm_name: str, handler: str, extension: str | None, timeout: float) -> None:
    """Remove what is on a machine and declared nowhere: declare it, and delete it before anything of it runs.

    HANDLER is <publisher>.<type>, as kubectl describe xvm VM shows it.
    """
    from kubectl_vmext.cluster import EXTENSIONS, MACHINES

    cluster = at.cluster()
    one = undeclared.pick(chosen.machine(cluster, vm_name), handler, extension)
    own = undeclared.name_for(one, vm_name)
    try:
        made = cluster.request(
            "POST", cluster.of(EXTENSIONS), undeclared.declared(own, cluster.namespace, vm_name, one)
        )
    except TakenError:
        raise TakenError(
            f"{own} is declared already; delete that, which removes it: kubectl vmext delete {own}"
        ) from None
    cluster.delete(cluster.of(EXTENSIONS, own))
    waiting.until_deleted(cluster, own, timeout)
    message = waiting.event_of_deletion(cluster, made)
    # Only the machine can say that it is gone.
    waiting.until_reported(
        cluster,
        cluster.of(MACHINES, vm_name),
        lambda machine: machine is None or not any(undeclared.is_same(one, other) for other in undeclared.of(machine)),
        f"{_deleted(own, message)}, and {vm_name} still reports {one['handler']}",
    )
    print(f"{one['handler']} is removed" + (f": {output.printable(message)}" if message else ""))


@click.command("wait")
@chosen.options
@click.option("--created", is_flag=True, help="Until its machine has it.")
@click.option("--updated", is_flag=True, help="Until its machine has what is declared now; the same as --created.")
@click.option("--exists", is_flag=True, help="Until it is declared.")
@click.option("--deleted", is_flag=True, help="Until it is gone.")
@click.option("--custom", metavar="JMESPATH", help="Until this is true of what `show --instance-view` prints.")
@click.option("--timeout", type=_TIME, default="1h", show_default=True, help="How long at most.")
@click.option("--interval", type=_TIME, hidden=True, expose_value=False, help="As for az: not needed here.")
@where.options
@where.pass_where
def wait(
    at: where.Where,
    name: str | None,
    named: str | None,
    vm_name: str | None,
    created: bool,
    updated: bool,
    exists: bool,
    deleted: bool,
    custom: str | None,
    timeout: float,
) -> None:
    """Wait until an extension is as wanted; exit code 6 where it is not in time, 1 where it failed."""
    if sum(map(bool, (created, updated, exists, deleted, custom))) != 1:
        raise UsageError("wait for what? give one of --created, --updated, --exists, --deleted, --custom JMESPATH")
    if custom is not None:
        output.searched({}, custom)
    cluster, own = at.cluster(), chosen.name_of(name, named)
    if vm_name is not None:
        try:
            own = chosen.extension(cluster, own, vm_name)["metadata"]["name"]
        except PluginError as error:
            # What is gone already can't be found by its machine.
            if deleted and error.code == 3:
                return
            raise
    if deleted:
        waiting.until_deleted(cluster, own, timeout)
    elif exists:
        waiting.until(cluster, own, "to be declared", lambda _: True, timeout)
    elif custom is not None:
        waiting.until(
            cluster,
            own,
            f"until {custom}",
            lambda one: bool(output.searched(azure_view.extension(one, with_view=True), custom)),
            timeout,
        )
    else:
        chosen.extension(cluster, own, None)
        waiting.until_settled(cluster, own, timeout)
