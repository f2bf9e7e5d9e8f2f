"""``kubectl vmext set``: create or change an extension, by the words of ``az vm extension set``."""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from kubectl_vmext import azure_view, catalog, chosen, completion, declaration, given, output, waiting, where
from kubectl_vmext.commands.extensions import COLUMNS
from kubectl_vmext.errors import NoRightsError, PluginError, TakenError, UsageError
from vmext_operator.core import protected

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster, Object

KEY = "settings"
#: On Secrets that this command made: it takes away its own only.
MANAGED = {"app.kubernetes.io/managed-by": "kubectl-vmext"}
_TIME = waiting.Duration()


@click.command("set")
@completion.machine_option("--vm-name", required=True, help="Machine that is to have it.")
@click.option("--name", "--type", "type_", metavar="TYPE", required=True, help="Type of the extension, as az's --name.")
@click.option("-p", "--publisher", metavar="NAME", help="Needed where several publish that type.")
@click.option("--version", metavar="VERSION", help="2, 2.1 or 2.1.6; the newest major and minor without it.")
@click.option("--extension-instance-name", "own_name", metavar="NAME", help="Its own name (default: VM-TYPE).")
@click.option("--settings", metavar="JSON", help="A JSON object, @file, a file's path, or - for standard input.")
@click.option("--protected-settings", metavar="JSON", help="The same, for the machine's eyes only: prefer @file or -.")
@click.option("--force-update", is_flag=True, help="Run it again although nothing changed.")
@click.option(
    "--no-auto-upgrade-minor-version", "pinned", type=click.BOOL, is_flag=False, flag_value=True, metavar="BOOL"
)
@click.option(
    "--enable-auto-upgrade", "automatic", type=click.BOOL, is_flag=False, flag_value=True, metavar="BOOL",
    help="Follow the catalog's new versions.",
)  # fmt: skip
@click.option("--enable-timeout", metavar="TIME", help="How long enabling may take on the machine, as 20m.")
@click.option("--timeout", type=_TIME, default=waiting.DEFAULT, show_default=True, help="How long to wait here.")
@click.option("--no-wait", is_flag=True, help="Return once it is declared.")
@click.option("--force-conflicts", is_flag=True, help="Take fields over from whoever looks after them.")
@where.options
@output.options("table")
@where.pass_where
def set_(at: where.Where, /, **said: Any) -> None:
    """Create or change an extension, and wait until its machine has it.

    What is not given stays as it is on an extension that exists.
    """
    settings = None if said["settings"] is None else given.settings(said["settings"], "--settings")
    secret = _protected(said["protected_settings"])
    cluster = at.cluster()
    machine = chosen.machine(cluster, said["vm_name"])
    name = said["own_name"]
    if name is None:
        own = chosen.on_machine(cluster, said["vm_name"])
        name = declaration.name_for(said["vm_name"], said["publisher"], said["type_"], own)
    declaration.check_name(name)
    before = _before(cluster, name)
    spec: dict[str, Any] = {}
    if settings is not None:
        spec["settings"] = settings
    if said["force_update"]:
        spec["forceUpdateTag"] = str(uuid.uuid4())
    if said["pinned"] is not None:
        spec["autoUpgradeMinorVersion"] = not said["pinned"]
    if said["automatic"] is not None:
        spec["enableAutomaticUpgrade"] = said["automatic"]
    if said["enable_timeout"] is not None:
        spec["timeout"] = said["enable_timeout"]
    publisher, type_, version = _handler(cluster, said["publisher"], said["type_"], said["version"], before)
    wish = declaration.Wish(said["vm_name"], publisher, type_, version, spec)
    # Refused, if at all, before a Secret is made.
    obj = declaration.declared(name, cluster.namespace, wish, before)
    if secret is not None:
        made = _make_secret(cluster, name, secret)
        obj["spec"]["protectedSettings"] = {"secretRef": {"name": made["metadata"]["name"], "key": KEY}}
        try:
            applied = _apply(cluster, name, obj, force=said["force_conflicts"])
        except PluginError:
            cluster.delete(cluster.core("secrets", made["metadata"]["name"]))
            raise
        _give(cluster, made, applied)
        _take_back(cluster, before)
    else:
        applied = _apply(cluster, name, obj, force=said["force_conflicts"])
    if not said["no_wait"]:
        applied = waiting.until_settled(cluster, name, said["timeout"])
    output.show(azure_view.extension(applied, machine), said["form"], said["query"], COLUMNS)


def _protected(value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if given.is_inline(value):
        print(
            "kubectl vmext: --protected-settings on the command line can be read by every user of this machine; "
            "prefer @file, or - for standard input",
            file=sys.stderr,
        )
    found = given.settings(value, "--protected-settings")
    size = len(json.dumps(found).encode())
    if size > protected.MAX_BYTES:
        raise UsageError(f"protected settings have {size} bytes, at most {protected.MAX_BYTES} are taken")
    return found


def _before(cluster: Cluster, name: str) -> Object | None:
    from kubectl_vmext.cluster import EXTENSIONS

    return cluster.get(cluster.of(EXTENSIONS, name))


def _handler(
    cluster: Cluster, publisher: str | None, type_: str, version: str | None, before: Object | None
) -> tuple[str, str, str]:
    """Return publisher, type and version: as said, as they stand there, else of the catalog's newest."""
    old: Mapping[str, str] = {} if before is None else before["spec"]
    publisher = publisher or old.get("publisher")
    version = version or old.get("typeHandlerVersion")
    if publisher is not None and version is not None:
        return publisher, type_, version
    newest = catalog.newest(catalog.entries(cluster), publisher, type_)["spec"]
    return newest["publisher"], newest["type"], version or ".".join(newest["version"].split(".")[:2])


def _apply(cluster: Cluster, name: str, obj: Mapping[str, Any], *, force: bool) -> Object:
    from kubectl_vmext.cluster import EXTENSIONS

    try:
        return cluster.apply(cluster.of(EXTENSIONS, name), obj, force=force)
    except TakenError as error:
        raise TakenError(f"{name}: {error}; change it where it comes from, or give --force-conflicts") from None


def _make_secret(cluster: Cluster, name: str, content: Mapping[str, Any]) -> Object:
    """Make a Secret of a name of its own: another name has the operator look at once, and nothing is overwritten."""
    data = base64.b64encode(json.dumps(content).encode()).decode()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"generateName": f"{name}-protected-", "labels": {**MANAGED, "vmext.dev/extension": name[:63]}},
        "data": {KEY: data},
    }
    return cluster.request("POST", cluster.core("secrets"), body)


def _give(cluster: Cluster, secret: Object, owner: Object) -> None:
    """Have the Secret end with its extension, however that is deleted."""
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    path = cluster.core("secrets", secret["metadata"]["name"])
    cluster.request("PATCH", path, {"metadata": {"ownerReferences": [reference]}})


def _take_back(cluster: Cluster, before: Object | None) -> None:
    """Delete the Secret that stood there before, if this command made it."""
    reference = (((before or {}).get("spec") or {}).get("protectedSettings") or {}).get("secretRef")
    if reference is None:
        return
    path = cluster.core("secrets", reference["name"])
    try:
        old = cluster.get(path)
        labels = ((old or {}).get("metadata") or {}).get("labels") or {}
        if MANAGED.items() <= labels.items():
            cluster.delete(path)
    except NoRightsError:
        # Who may make Secrets can be one who may not read them: it goes with its extension then.
        pass
