"""``kubectl vmext enroll``, ``revoke`` and ``encrypt``: what machines are known by, and what only they can read."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from kubectl_vmext import completion, given, where
from kubectl_vmext.errors import PluginError, UsageError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster
    from kubectl_vmext.enrolment import Enrolled

_SELECTOR = click.option("-l", "--selector", metavar="LABELS", help="Those that have these labels instead of names.")


@click.command("enroll")
@click.argument("names", nargs=-1, metavar="[VM]...", shell_complete=completion.machines)
@_SELECTOR
@click.option("--expired", is_flag=True, help="Those whose token has ended, of all or of -l: they stay who they are.")
@click.option("--again", is_flag=True, help="Let go of the certificate that is pinned: the machine was made anew.")
@click.option("--server", metavar="URL", help="How machines reach the API server (default: as you do).")
@click.option("--minutes", type=int, default=60, show_default=True, help="How long the token lives at most.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@where.options
@where.pass_where
def enroll(
    at: where.Where,
    names: tuple[str, ...],
    selector: str | None,
    expired: bool,
    again: bool,
    server: str | None,
    minutes: int,
    form: str,
) -> None:
    """Print the command that makes a machine known to the cluster; run it there, as root."""
    from kubectl_vmext import enrolment

    if not 10 <= minutes <= 24 * 60:
        raise UsageError(f"--minutes {minutes} is not between 10 and 1440")
    if expired and again:
        raise UsageError("--expired keeps certificates and --again lets go of them; give one of the two")
    cluster = at.cluster()
    address = cluster.address(server)
    if expired and not names:
        chosen = enrolment.expired(cluster, selector, datetime.now(UTC))
        if not chosen:
            print("no machine's token has ended", file=sys.stderr)
    else:
        chosen = _chosen(cluster, names, selector)
        if expired:
            chosen = [name for name in chosen if name in enrolment.expired(cluster, None, datetime.now(UTC))]
    made, failed = [], []
    first: enrolment.Enrolled | None = None
    for name in chosen:
        try:
            done = enrolment.enrol(cluster, name, address, seconds=minutes * 60, again=again)
        except PluginError as error:
            if len(chosen) == 1:
                raise
            # The others' tokens are good: they are printed, and this one is named.
            failed.append(f"{name}: {error}")
            continue
        first = first or done
        if form == "json":
            made.append(done.bundle)
            continue
        print(f"# On {name}, as root; good for {minutes} minutes, or until the machine has another token.")
        print(enrolment.command(done.bundle))
        shown = f"kubectl get xvm {name} -n {cluster.namespace} -o jsonpath='{{.status.credential.thumbprint}}'"
        print(f"then compare the thumbprint that it prints with: {shown}", file=sys.stderr)
    if form == "json":
        print(json.dumps(made, indent=1))
    if first is not None:
        _warn_of_short(cluster, first)
    if failed:
        raise PluginError(f"{len(failed)} of {len(chosen)} were not enrolled: " + "; ".join(failed))


@click.command("revoke")
@click.argument("names", nargs=-1, metavar="[VM]...", shell_complete=completion.machines)
@_SELECTOR
@where.options
@where.pass_where
def revoke(at: where.Where, names: tuple[str, ...], selector: str | None) -> None:
    """End a machine's tokens and let go of its certificate."""
    from kubectl_vmext import enrolment

    cluster = at.cluster()
    for name in _chosen(cluster, names, selector):
        enrolment.revoke(cluster, name)
        print(f"{name}: its tokens end within 10 s, and no certificate is pinned for it")


@click.command("encrypt")
@completion.machine_option("--vm", "--vm-name", "vm", help="For this machine's certificate.")
@click.option("--certificate", metavar="FILE", help="For this one (PEM); needs no cluster.")
@click.option("--from-file", "source", metavar="FILE", required=True, help="A JSON object; - for standard input.")
@where.options
@where.pass_where
def encrypt(at: where.Where, vm: str | None, certificate: str | None, source: str) -> None:
    """Encrypt protected settings for a machine: what comes of it is safe in git."""
    from kubectl_vmext import encryption

    if (vm is None) == (certificate is None):
        raise UsageError("for whom? give --vm, or --certificate")
    plain = given.read(source)
    pem = given.read(certificate) if certificate is not None else encryption.certificate_of(at.cluster(), str(vm))
    print(encryption.encrypted(plain, pem, "standard input" if source == "-" else source), end="")


def _chosen(cluster: Cluster, names: tuple[str, ...], selector: str | None) -> list[str]:
    from kubectl_vmext import enrolment

    if bool(names) == (selector is not None):
        raise UsageError("which machines? name them, or select them by -l, not both")
    return enrolment.machines(cluster, list(names), selector)


def _warn_of_short(cluster: Cluster, enrolled: Enrolled) -> None:
    from kubectl_vmext import enrolment

    granted = enrolment.granted_s(cluster, enrolled.bundle["name"], enrolled.bound, datetime.now(UTC))
    if granted is not None and granted < enrolment.SHORT_S:
        print(
            f"mind: this API server grants tokens of {granted / 3600:.0f} hours at most; a machine that is off for "
            "longer has to be enrolled anew: kubectl vmext enroll --expired; the chart's credential.mode offers others",
            file=sys.stderr,
        )
