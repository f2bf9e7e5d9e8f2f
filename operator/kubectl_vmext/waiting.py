"""Wait for an extension, and say how it ended: the exit code tells a script what the words tell a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from kubectl_vmext import azure_view, progress
from kubectl_vmext.errors import NoRightsError, PluginError, TimedOutError, UsageError
from vmext_operator.api import fields
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import ParseError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster, Object

#: CustomScript may take this long by default, and its machine has to take it up first.
DEFAULT = "95m"
#: An Event comes a moment after its object is gone.
_EVENT_S, _EVENT_POLL_S = 3.0, 0.2
#: A machine reports at once, and its status is written once a second.
_REPORTED_S = 15.0


class Duration(click.ParamType[float]):
    """A time such as 90s, 20m or 1h30m, in seconds; a bare number is seconds too, as in az."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it in seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = f"{value}s" if str(value).isdecimal() else str(value)
        try:
            return float(fields.seconds(text, "duration"))
        except ParseError as error:
            self.fail(error.reason, param, ctx)


class FailedError(PluginError):
    """The extension ended, and not as it should have."""


def until_settled(cluster: Cluster, name: str, timeout_s: float) -> Object:
    """Return an extension once it has ended well.

    Raises FailedError where it is stalled, TimedOutError where it is neither in time, PluginError where it is gone.
    """
    found = _wait(cluster, name, "", lambda one: one is None or _ended(one), timeout_s)
    if found is None:
        raise FailedError(f"{name} was deleted meanwhile")
    stalled = azure_view.condition(found["status"], "Stalled")
    if stalled is not None:
        raise FailedError(f"{name} failed, {stalled['reason']}: {_first_words(stalled['message'])}; {_next(name)}")
    return found


def until_deleted(cluster: Cluster, name: str, timeout_s: float) -> None:
    """Return once an extension is gone. Raises TimedOutError, PluginError."""
    _wait(cluster, name, "to be gone", lambda one: one is None, timeout_s)


def event_of_deletion(cluster: Cluster, obj: Object) -> str:
    """Return what the operator says of an extension that is gone, empty where it says nothing or you may not see it."""
    metadata = obj["metadata"]
    deadline = time.monotonic() + _EVENT_S
    while True:
        try:
            events = list(cluster.list(cluster.core("events"), fieldSelector=f"involvedObject.uid={metadata['uid']}"))
        except NoRightsError:
            return ""
        last = [one for one in events if one.get("reason") in (Reason.REMOVED.value, Reason.ORPHANED.value)]
        if last:
            return str(last[-1].get("message") or "")
        if time.monotonic() >= deadline:
            return ""
        time.sleep(_EVENT_POLL_S)


def until_reported(cluster: Cluster, path: str, until: Callable[[Object | None], bool], otherwise: str) -> None:
    """Return once an object's status says so. Raises FailedError where it does not do so soon, PluginError."""
    try:
        cluster.await_(path, until, timeout_s=_REPORTED_S)
    except TimedOutError:
        raise FailedError(otherwise) from None


def until(cluster: Cluster, name: str, what: str, condition: Callable[[Object], bool], timeout_s: float) -> Object:
    """Return an extension once it is as wanted. Raises TimedOutError, PluginError."""
    found = _wait(cluster, name, what, lambda one: one is not None and condition(one), timeout_s)
    assert found is not None, "the condition holds of an object only"
    return found


def of_now(obj: Object) -> Mapping[str, Any]:
    """Return a status that speaks of what is declared now, an empty one where it does not yet."""
    status: Mapping[str, Any] = obj.get("status") or {}
    return status if status.get("observedGeneration") == obj["metadata"]["generation"] else {}


def is_ready(obj: Object) -> bool:
    """Tell whether the machine has what is declared now."""
    found = azure_view.condition(of_now(obj), "Ready")
    return found is not None and found["status"] == "True"


def _ended(obj: Object) -> bool:
    return is_ready(obj) or azure_view.condition(of_now(obj), "Stalled") is not None


def _wait(
    cluster: Cluster, name: str, what: str, until: Callable[[Object | None], bool], timeout_s: float
) -> Object | None:
    from kubectl_vmext.cluster import EXTENSIONS

    if timeout_s < 0:
        raise UsageError("a time to wait can't be negative")
    last = "it has not been seen"

    with progress.shown(f"waiting for {name} {what}".strip()) as tell:

        def seen(obj: Object | None) -> None:
            nonlocal last
            last = _stands(obj)
            tell(last)

        try:
            return cluster.await_(cluster.of(EXTENSIONS, name), until, timeout_s=timeout_s, seen=seen)
        except TimedOutError as error:
            raise TimedOutError(f"{error}: {last}; see kubectl describe vmx {name}, or give more --timeout") from None


def _stands(obj: Object | None) -> str:
    if obj is None:
        return "it is not there"
    ready = azure_view.condition(of_now(obj), "Ready")
    return "the operator has not seen it yet" if ready is None else f"{ready['reason']}: {ready['message']}"


def _first_words(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 300 else line[:297] + "..."


def _next(name: str) -> str:
    return f"see kubectl vmext logs {name}"
