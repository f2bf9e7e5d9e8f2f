"""Whether vmext is there: kinds, rights, an operator that lives, packages that can be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kubectl_vmext.doctor.finding import Finding, fail, long, ok, warn

Object = Mapping[str, Any]

_KINDS = ("virtualmachines", "virtualmachineextensions", "virtualmachineextensionimages", "goalstates")
#: The first version that has all that our kinds and the chart's policies are made of; the charts name the same one.
OLDEST = (1, 32)
#: By which a Lease's holder may be late before it counts as gone: clocks differ.
_LATE_S = 5


class Right(NamedTuple):
    """Something that a user may do or not, and what for."""

    verb: str
    group: str
    resource: str
    purpose: str
    subresource: str = ""
    namespaced: bool = True


CATALOG = Right("list", "vmext.dev", "virtualmachineextensionimages", "see the catalog", namespaced=False)
#: Without these nothing can be seen; without the others, what they name can't be done.
SEEING = (
    Right("list", "vmext.dev", "virtualmachines", "see machines"),
    Right("list", "vmext.dev", "virtualmachineextensions", "see extensions"),
)
DOING = (
    CATALOG,
    Right("get", "vmext.dev", "goalstates", "see what machines are told"),
    Right("patch", "vmext.dev", "virtualmachineextensions", "declare extensions (set)"),
    Right("delete", "vmext.dev", "virtualmachineextensions", "delete extensions"),
    Right("create", "", "secrets", "make Secrets of protected settings"),
    Right("patch", "vmext.dev", "virtualmachines", "revoke machines"),
    Right("create", "", "serviceaccounts", "enroll machines", subresource="token"),
)


def version(info: Object) -> Finding:
    """Look at the API server's own version."""
    said = str(info.get("gitVersion", "?"))
    try:
        number = (int(info["major"]), int(str(info["minor"]).rstrip("+")))
    except (KeyError, ValueError):
        return ok("API server", said)
    if number < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return warn("API server", f"{said} is older than what vmext needs", f"use Kubernetes {oldest} or later")
    return ok("API server", said)


def kinds(discovered: Object | None) -> Finding:
    """Look at which of our kinds are served."""
    served = {str(one.get("name")) for one in (discovered or {}).get("resources") or ()}
    missing = [kind for kind in _KINDS if kind not in served]
    if missing:
        remedy = "install the chart vmext, or choose another --context"
        return fail("CRDs", f"not served: {', '.join(missing)}", remedy)
    return ok("CRDs", f"vmext.dev/v1alpha1 serves {len(_KINDS)} kinds")


def rights(allowed: Mapping[Right, bool]) -> list[Finding]:
    """Look at what the user may do."""
    found = []
    for right in (*SEEING, *DOING):
        if allowed.get(right):
            continue
        said = f"you may not {right.purpose}"
        if right in SEEING:
            found.append(fail("RBAC", said, f"ask for {_named(right)}"))
        else:
            found.append(warn("RBAC", said, f"ask for {_named(right)}, if you need it"))
    return found or [ok("RBAC", "you may do all that the commands do")]


def operator(lease: Object | None, namespace: str, now: datetime) -> Finding:
    """Look at whether an operator holds its Lease."""
    look = f"kubectl get pods -n {namespace}"
    if lease is None:
        words = f"there is no Lease vmext-operator in {namespace}"
        return warn("operator", words, f"is it there? {look}; or give --operator-namespace")
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        return fail("operator", "no operator holds the Lease vmext-operator", look)
    age = (now - datetime.fromisoformat(renewed)).total_seconds()
    if age > spec.get("leaseDurationSeconds", 10) + _LATE_S:
        return fail("operator", f"{holder} renewed its Lease {long(age)} ago", look)
    return ok("operator", f"{holder} renewed its Lease {long(max(0, age))} ago")


def catalog(entries: Sequence[Object]) -> Finding:
    """Look at whether there is anything to be had."""
    if not entries:
        return warn("catalog", "it is empty", "install the chart vmext-catalog, or kubectl vmext image add")
    return ok("catalog", f"{len(entries)} versions")


class Answer(NamedTuple):
    """What a package's address answered: an HTTP status and a size, or what went wrong."""

    status: int
    size: int | None
    error: str = ""


def packages(entries: Iterable[Object], answers: Mapping[str, Answer]) -> list[Finding]:
    """Look at whether the packages can be had from here; machines may see other networks than you."""
    found, good = [], 0
    for entry in entries:
        name, package = entry["metadata"]["name"], entry["spec"]["package"]
        for url in package["urls"]:
            if url not in answers:
                continue
            problem = _problem(answers[url], package["sizeBytes"])
            if problem:
                remedy = "correct package.urls, or serve it there"
                found.append(warn("package", f"{name}: {url} {problem}, from here", remedy))
            else:
                good += 1
    return found + ([ok("package", f"{good} addresses answer from here")] if good else [])


def _problem(answer: Answer, size: int) -> str:
    if answer.error:
        return f"can't be reached ({answer.error[:120]})"
    if answer.status >= 400:
        return f"answers {answer.status}"
    if answer.size is not None and answer.size != size:
        return f"has {answer.size} bytes instead of {size}"
    return ""


def _named(right: Right) -> str:
    whole = right.resource + (f"/{right.subresource}" if right.subresource else "")
    return f"{right.verb} on {whole}" + (f".{right.group}" if right.group else "")
