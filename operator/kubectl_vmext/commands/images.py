"""``kubectl vmext image``: the catalog, by the words of ``az vm extension image``."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml

from kubectl_vmext import azure_view, catalog, given, output, package_file, signing, where
from kubectl_vmext.errors import NotFoundError, TakenError, UsageError


@click.group("image")
def group() -> None:
    """See and fill the catalog: which extensions there are, in which versions."""


@group.command("list")
@click.option("-l", "--location", metavar="NAME", help="Those that machines of this location are offered.")
@click.option("-p", "--publisher", metavar="NAME", help="Those of this publisher.")
@click.option("-n", "--name", "--type", "type_", metavar="TYPE", help="Those of this type, as az's --name.")
@click.option("--version", metavar="VERSION", help="This version only.")
@click.option("--latest", is_flag=True, help="Of each the newest that is not withdrawn.")
@output.options("table")
@where.pass_where
def list_(
    at: where.Where,
    location: str | None,
    publisher: str | None,
    type_: str | None,
    version: str | None,
    latest: bool,
    form: str,
    query: str | None,
) -> None:
    """List what the catalog offers."""
    wanted = catalog.Filter(publisher, type_, version, location)
    found = catalog.found(catalog.entries(at.cluster()), wanted, latest=latest)
    output.show([azure_view.image(one) for one in found], form, query, ("name", "publisher", "version"))


@group.command("show")
@click.option("-p", "--publisher", metavar="NAME", required=True)
@click.option("-n", "--name", "--type", "type_", metavar="TYPE", required=True)
@click.option("--version", metavar="VERSION", help="The newest without it.")
@click.option("-l", "--location", metavar="NAME", help="As machines of this location are offered it.")
@output.options("json")
@where.pass_where
def show(
    at: where.Where,
    publisher: str,
    type_: str,
    version: str | None,
    location: str | None,
    form: str,
    query: str | None,
) -> None:
    """Show one version of an extension in full."""
    entries = catalog.found(catalog.entries(at.cluster()), catalog.Filter(publisher, type_, version, location))
    kept = [one for one in entries if version or not one["spec"].get("withdrawn")]
    if not kept:
        asked = f"{publisher}.{type_}" + (f" in version {version}" if version else "")
        raise NotFoundError(f"the catalog has no {asked}; see kubectl vmext image list")
    chosen = kept[-1]
    output.show({"id": chosen["metadata"]["name"], **azure_view.image(chosen), **chosen["spec"]}, form, query)


@group.command("add")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--url", "urls", metavar="URL", multiple=True, required=True, help="Where machines find it; several do.")
@click.option("-p", "--publisher", metavar="NAME", help="Where the file's name does not say it.")
@click.option("-n", "--name", "--type", "type_", metavar="TYPE", help="Where the file's name does not say it.")
@click.option("--version", metavar="VERSION", help="Where the file's name does not say it.")
@click.option("-l", "--location", "locations", metavar="NAME", multiple=True, help="Offer it there only; several do.")
@click.option("--description", metavar="TEXT", help="What the extension does, in a sentence.")
@click.option("--enable-timeout", metavar="TIME", help="How long enabling may take, such as 90m.")
@click.option("--installs-packages/--installs-no-packages", default=None, help="Wait for the package manager or not.")
@click.option("--sign-with", metavar="KEY", help="Sign it with the publisher's private key (Ed25519, PEM).")
@click.option("--dry-run", is_flag=True, help="Print the entry and write nothing; needs no cluster.")
@where.pass_where
def add(
    at: where.Where,
    package: Path,
    urls: tuple[str, ...],
    publisher: str | None,
    type_: str | None,
    version: str | None,
    locations: tuple[str, ...],
    description: str | None,
    enable_timeout: str | None,
    installs_packages: bool | None,
    sign_with: str | None,
    dry_run: bool,
) -> None:
    """Enter a package into the catalog: reads its manifest, computes its checksum.

    The package itself is served by you: under the addresses that you give.
    """
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--url {url!r} does not start with http:// or https://")
    spec = {
        "publisher": publisher,
        "type": type_,
        "version": version,
        "description": description,
        "locations": list(locations) or None,
        "defaults": {"enableTimeout": enable_timeout} if enable_timeout else None,
        "installsPackages": installs_packages,
    }
    entry = package_file.entry(package_file.read(package), urls, spec)
    if sign_with is not None:
        entry = signing.signed(entry, given.read(sign_with), sign_with)
    if dry_run:
        print(yaml.safe_dump(entry, sort_keys=False, width=120), end="")
        return
    cluster, name = at.cluster(), entry["metadata"]["name"]
    before = cluster.get(cluster.image(name))
    made, held = entry["spec"]["package"], ((before or {}).get("spec") or {}).get("package")
    if held is not None and held["sha256"] != made["sha256"]:
        raise TakenError(
            f"the catalog has {name} with another package (SHA-256 {held['sha256'][:12]}..., this one is "
            f"{made['sha256'][:12]}...); a version's package can't change under machines that run it: raise the version"
        )
    cluster.apply(cluster.image(name), json.loads(json.dumps(entry)))
    print(f"{name} is in the catalog" if before is None else f"{name} was in the catalog; it is as given now")
