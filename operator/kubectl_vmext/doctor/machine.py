"""How a machine does: its heartbeat, its token, what it is told, and what became of its extensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from kubectl_vmext.azure_view import condition
from kubectl_vmext.doctor.finding import Finding, fail, long, ok, warn
from vmext_operator.api import fields
from vmext_operator.errors import ParseError

Object = Mapping[str, Any]

_GRACE_S = 30.0
_SHORT = timedelta(days=7)
_UNREACHABLE_S = 300


def findings(
    machine: Object, goal: Object | None, lease: Object | None, extensions: Iterable[Object], now: datetime
) -> Iterator[Finding]:
    """Yield what is to be said of a machine.

    Args:
        machine: its VirtualMachine.
        goal: its GoalState, None where there is none.
        lease: its heartbeat, None where there is none.
        extensions: those that are declared for it.
        now: by the clock of the one who looks.
    """
    yield _seen(machine, now)
    yield _enrolled(machine)
    yield from _duplicates(machine)
    yield _heartbeat(machine, lease, now)
    yield from _credential(machine, goal, now)
    yield _goal(machine, goal, now)
    yield from _undeclared(machine)
    for one in extensions:
        stalled = condition(one.get("status") or {}, "Stalled")
        if stalled is not None:
            own = one["metadata"]["name"]
            yield warn(_name(machine), f"extension {own}: {stalled['reason']}", f"kubectl vmext logs {own}")


def _name(machine: Object) -> str:
    return str(machine["metadata"]["name"])


def _seen(machine: Object, now: datetime) -> Finding:
    name, status = _name(machine), machine.get("status") or {}
    if status.get("observedGeneration") == machine["metadata"]["generation"]:
        ready = condition(status, "Ready")
        if ready is not None and ready["status"] != "True":
            said = f"Ready={ready['status']}, {ready['reason']}: {ready['message']}"
            return warn(name, said, "docs/reasons.md says what to do")
        return ok(name, "the operator has seen what is declared")
    age = (now - datetime.fromisoformat(machine["metadata"]["creationTimestamp"])).total_seconds()
    if status.get("observedGeneration", -1) == -1 and age > _GRACE_S:
        remedy = "is the operator running, and does it watch this namespace?"
        return fail(name, f"no operator has seen it in {long(age)}", remedy)
    return warn(name, "the operator has not seen the last change yet", "look again in a few seconds")


def _enrolled(machine: Object) -> Finding:
    name, status = _name(machine), machine.get("status") or {}
    found = condition(status, "Enrolled")
    if found is not None and found["status"] != "True":
        # What follows the semicolon is the remedy in its own words.
        said = f"{found['reason']}: {found['message'].partition(';')[0]}"
        again = " --again" if found["reason"] == "CertificateRefused" else ""
        return warn(name, said, f"kubectl vmext enroll {name}{again}, and paste what it prints on the machine")
    if found is not None and found["reason"] == "RenewalOverdue":
        return warn(name, found["message"].partition("; see")[0], f"on {name}: vmext-agent status")
    thumbprint = (status.get("credential") or {}).get("thumbprint")
    return ok(name, f"enrolled as {thumbprint}" if thumbprint else "enrolled")


def _duplicates(machine: Object) -> Iterator[Finding]:
    """Yield that others have its identity. Its copies harm nothing while they take no orders; two in turn do."""
    name, found = _name(machine), condition(machine.get("status") or {}, "DuplicateIdentity")
    if found is None:
        return
    words, _, remedy = str(found["message"]).partition(". ")
    level = warn if found["reason"] == "CopyFound" else fail
    yield level(name, f"DuplicateIdentity, {found['reason']}: {words}", remedy)


def _heartbeat(machine: Object, lease: Object | None, now: datetime) -> Finding:
    name = _name(machine)
    renewed = ((lease or {}).get("spec") or {}).get("renewTime")
    look = f"is its agent running? on {name}: vmext-agent status"
    if not renewed:
        return warn(name, "no heartbeat has ever come", look)
    age = (now - datetime.fromisoformat(renewed)).total_seconds()
    try:
        patience = (machine.get("spec") or {}).get("unreachableAfter")
        limit = fields.seconds(patience, "unreachableAfter") if patience else _UNREACHABLE_S
    except ParseError:
        limit = _UNREACHABLE_S
    if age > limit:
        return fail(name, f"its last heartbeat came {long(age)} ago", look)
    return ok(name, f"its last heartbeat came {long(max(0, age))} ago")


def _credential(machine: Object, goal: Object | None, now: datetime) -> list[Finding]:
    name, held = _name(machine), (machine.get("status") or {}).get("credential") or {}
    if not held.get("expiresAt"):
        return []
    left = datetime.fromisoformat(held["expiresAt"]) - now
    if left <= timedelta():
        return [fail(name, f"its token ended {long(-left.total_seconds())} ago", f"kubectl vmext enroll {name}")]
    own = ((goal or {}).get("status") or {}).get("credential") or {}
    if own.get("issuedAt") and own.get("expiresAt"):
        life = datetime.fromisoformat(own["expiresAt"]) - datetime.fromisoformat(own["issuedAt"])
        if life < _SHORT:
            words = f"its tokens live {long(life.total_seconds())}: off for longer, it has to be enrolled anew"
            remedy = (
                "raise the API server's --service-account-max-token-expiration, or see credential.mode of the chart"
            )
            return [warn(name, words, remedy)]
    return [ok(name, f"its token is good for {long(left.total_seconds())}")]


def _undeclared(machine: Object) -> Iterator[Finding]:
    name, found = _name(machine), (machine.get("status") or {}).get("undeclared") or ()
    for one in found:
        which = f" --extension {one['extension']}" if one.get("multiConfig") else ""
        whose = f" ({one['extension']})" if one.get("extension") else ""
        words = f"{one['handler']} {one['version']}{whose} is on it and declared nowhere"
        remedy = f"declare it to take it over, or kubectl vmext remove-undeclared {name} {one['handler']}{which}"
        yield warn(name, words, remedy)


def _goal(machine: Object, goal: Object | None, now: datetime) -> Finding:
    name = _name(machine)
    if goal is None:
        return warn(name, "it is told nothing yet: there is no GoalState", "it comes with the first extension")
    generation, seen = goal["metadata"]["generation"], (goal.get("status") or {}).get("observedGeneration")
    if seen == generation:
        return ok(name, f"its agent has seen goal state {generation}")
    written = [
        str(one["time"])
        for one in goal["metadata"].get("managedFields") or ()
        if one.get("time") and one.get("subresource") != "status"
    ]
    age = max(0.0, (now - datetime.fromisoformat(max(written))).total_seconds()) if written else 0.0
    words = f"its agent has seen goal state {seen or 'none'}, and {generation} is wanted since {long(age)}"
    if age > _GRACE_S:
        return fail(name, words, f"is its agent running? on {name}: vmext-agent status")
    return warn(name, words, "look again in a few seconds")
