"""``kubectl vmext doctor``: look at everything that has to work, in order, and say what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from kubectl_vmext import catalog, chosen, completion, output, where
from kubectl_vmext.doctor import installation, machine
from kubectl_vmext.doctor.finding import Finding, Level, warn
from kubectl_vmext.errors import NoRightsError, PluginError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster, Object

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}"
#: Addresses that are asked: the newest of each handler, and not a fleet's worth of them.
_MOST_URLS = 20
_ANSWER_S = 5.0
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command("doctor")
@completion.machine_option(
    "--vm-name", "--vm", "vm_name", help="Look at this machine in full (default: what is wrong with any)."
)
@click.option("--operator-namespace", metavar="NAME", default="vmext-system", show_default=True)
@click.option("--no-packages", is_flag=True, help="Do not ask the packages' addresses.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@where.options
@where.pass_where
def doctor(at: where.Where, vm_name: str | None, operator_namespace: str, no_packages: bool, form: str) -> None:
    """Say what is wrong and what to do; the exit code is 1 where something does not work."""
    cluster, now = at.cluster(), datetime.now(UTC)
    machines = None if vm_name is None else [chosen.machine(cluster, vm_name)]
    found = []
    for finding in _findings(cluster, machines, operator_namespace, now, packages=not no_packages):
        found.append(finding)
        if form == "text":
            _print(finding)
    if form == "json":
        print(json.dumps([one.render() for one in found], indent=2))
    failed = sum(one.level is Level.FAIL for one in found)
    if failed:
        raise PluginError(f"{failed} of {len(found)} things that were looked at do not work; see above")


def _findings(
    cluster: Cluster, machines: Sequence[Object] | None, operators: str, now: datetime, *, packages: bool
) -> Iterator[Finding]:
    yield installation.version(cluster.request("GET", "/version"))
    kinds = installation.kinds(cluster.get("/apis/vmext.dev/v1alpha1"))
    yield kinds
    if kinds.level is not Level.OK:
        return
    allowed = {right: _may(cluster, right) for right in (*installation.SEEING, *installation.DOING)}
    yield from installation.rights(allowed)
    yield _operator(cluster, operators, now)
    if allowed[installation.CATALOG]:
        entries = catalog.entries(cluster)
        yield installation.catalog(entries)
        if packages:
            newest = catalog.found(entries, catalog.Filter(), latest=True)
            yield from installation.packages(newest, _answers(newest))
    if all(allowed[right] for right in installation.SEEING):
        yield from _machines(cluster, machines, now)


def _may(cluster: Cluster, right: installation.Right) -> bool:
    asked = {
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "namespace": cluster.namespace if right.namespaced else "",
    }
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer = cluster.request("POST", _REVIEW, kind | {"spec": {"resourceAttributes": asked}})
    return bool(answer.get("status", {}).get("allowed"))


def _operator(cluster: Cluster, namespace: str, now: datetime) -> Finding:
    try:
        return installation.operator(cluster.get(_LEASES.format(namespace, "vmext-operator")), namespace, now)
    except NoRightsError:
        return warn(
            "operator",
            f"you may not see its Lease in {namespace}",
            "ask whoever runs the cluster, if machines stand still",
        )


def _machines(cluster: Cluster, named: Sequence[Object] | None, now: datetime) -> Iterator[Finding]:
    from kubectl_vmext import enrolment
    from kubectl_vmext.cluster import EXTENSIONS, GOALS, MACHINES
    from vmext_operator.api import goal_state

    every = list(cluster.list(cluster.of(MACHINES))) if named is None else named
    extensions: dict[str, list[Object]] = {}
    for one in cluster.list(cluster.of(EXTENSIONS)):
        extensions.setdefault(one["spec"]["vmName"], []).append(one)
    for one in every:
        name = one["metadata"]["name"]
        try:
            goal = cluster.get(cluster.of(GOALS, goal_state.name_of(name, enrolment.anchor(one))))
            lease = cluster.get(_LEASES.format(cluster.namespace, f"vmext-vm-{name}"))
        except NoRightsError as error:
            yield warn(name, f"it can't be looked into: {error}", "ask for get on goalstates.vmext.dev and leases")
            continue
        for finding in machine.findings(one, goal, lease, extensions.get(name, ()), now):
            # Of a whole fleet, only what is wrong.
            if named is not None or finding.level is not Level.OK:
                yield finding
    if named is None:
        yield Finding(Level.OK, "machines", f"{len(every)} looked at; --vm-name shows one in full")


def _answers(entries: Sequence[Mapping[str, Any]]) -> dict[str, installation.Answer]:
    import urllib3

    urls = [str(url) for entry in entries for url in entry["spec"]["package"]["urls"]][:_MOST_URLS]
    timeout = urllib3.Timeout(total=_ANSWER_S)
    answers = {}
    with urllib3.PoolManager(retries=urllib3.Retry(0, redirect=5), timeout=timeout) as pool:
        for url in urls:
            try:
                answer = pool.request("HEAD", url)
                length = answer.headers.get("Content-Length", "")
                answers[url] = installation.Answer(answer.status, int(length) if length.isdecimal() else None)
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                reason = getattr(error, "reason", None) or error
                answers[url] = installation.Answer(0, None, " ".join(str(reason).split()))
    return answers


def _print(finding: Finding) -> None:
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
    line = Text(f"{finding.level.value:<5}", style=_COLOURS[finding.level])
    # What a machine says is text, never markup.
    line.append(output.printable(f"{finding.what}: {' '.join(finding.words.split())}"), style="default")
    console.print(line)
    if finding.remedy:
        console.print(Text(f"      -> {finding.remedy}"))
