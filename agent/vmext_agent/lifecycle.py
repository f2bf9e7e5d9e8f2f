"""What is known after a step: pure, so that a result means the same to the agent that began it and to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import plan, records
from vmext_agent.records import Enabled, HandlerStatus, Move, Verdict

if TYPE_CHECKING:
    from vmext_agent.plan import Step
    from vmext_agent.records import Disk, Folder, Record

SUCCEEDED, FAILED, RUNNING, REMOVED = "Succeeded", "Failed", "Running", "Removed"

_FAILURES = {
    plan.INSTALL: ("InstallFailed", 1007),
    plan.UPDATE: ("UpdateFailed", 1008),
    plan.ENABLE: ("EnableFailed", 1009),
    plan.DISABLE: ("DisableFailed", 1010),
    plan.UNINSTALL: ("UninstallFailed", 1000),
}
#: Exit codes that handlers agree on (contract, section 5).
_MEANINGS = {
    51: "UnsupportedOS",
    52: "MissingDependency",
    53: "InvalidConfiguration",
    126: "NotExecutable",
    127: "MissingInterpreter",
}
TIMED_OUT = 1011


class Result(NamedTuple):
    """How a command ended: ``code`` is its exit code, or 1011 where it was ended for taking too long.

    ``reason`` is set where the exit code does not tell: TimedOut, Cancelled, Interrupted, InterruptedByReboot.
    """

    code: int
    message: str = ""
    reason: str = ""


class Conclusion(NamedTuple):
    """What is to be recorded: the record, and the folder's new state (None: as it was)."""

    record: Record
    state: str | None


def operation(kind: str) -> str:
    """Return a step's name in a status (``crds/goalstates.yaml``)."""
    named = {plan.CARRY: "Update", plan.REMOVE: "Uninstall", plan.FORGET: "Uninstall", plan.ACCEPT: "Enable"}
    return named.get(kind, kind.capitalize())


def fail(record: Record, step: Step, reason: str, message: str, code: int, now: str, *, retry: bool = False) -> Record:
    """Return the record of an extension whose step failed."""
    verdict = Verdict(FAILED, operation(step.kind), reason, message, now, retry)
    return record._replace(verdict=verdict, handler_status=HandlerStatus("NotReady", code, message))


def conclude(
    record: Record, step: Step, result: Result, disk: Disk, *, now: str, started: str, until: float
) -> Conclusion:
    """Return what is known after a command.

    Args:
        record: the extension's.
        step: that was carried out.
        result: how it ended.
        disk: as it was before.
        now: RFC 3339.
        started: the boot that the command was started in.
        until: when the status of an extension enabled now must be final, in seconds since 1970.
    """
    folders = disk.handlers.get(step.handler, {})
    if result.code == 0:
        return _succeeded(record, step, started, until)
    reason, code = _FAILURES[step.kind]
    if result.reason:
        reason = result.reason
        code = TIMED_OUT if result.code == TIMED_OUT else code
    elif result.code in _MEANINGS:
        reason = _MEANINGS[result.code]
    removing = step.key.state != "enabled"
    if step.kind == plan.UNINSTALL and removing:
        # As in the contract: whoever deletes an extension is not helped by half of it staying.
        noted = record._replace(handler_status=HandlerStatus("NotReady", code, result.message))
        return Conclusion(noted, records.NOT_INSTALLED)
    if not removing and step.version != step.key.version and step.kind in (plan.DISABLE, plan.UNINSTALL):
        state = records.INSTALLED if step.kind == plan.DISABLE else records.NOT_INSTALLED
        if _continues(folders.get(step.key.version)):
            moved = _moved(record, step.version, step.key.version, step.kind, str(result.code))
            return Conclusion(moved, state)
        return Conclusion(fail(record, step, reason, result.message, 1008, now), None)
    failed = fail(record, step, reason, result.message, code, now)
    if step.kind == plan.UPDATE:
        return Conclusion(failed._replace(move=None), records.FAILED_UPGRADE if _is_new(step) else None)
    if step.kind == plan.ENABLE:
        return Conclusion(failed._replace(enabled=None), records.INSTALLED)
    return Conclusion(failed, None)


def _succeeded(record: Record, step: Step, boot: str, until: float) -> Conclusion:
    key = step.key
    if step.kind == plan.INSTALL:
        status = HandlerStatus("NotReady", 0, "Plugin installed but not enabled")
        return Conclusion(record._replace(handler_status=status), records.INSTALLED)
    if step.kind == plan.ENABLE:
        enabled = Enabled(key.uid, key.version, key.sequence_number, boot, until)
        status = HandlerStatus("Ready", 0, "Plugin enabled")
        return Conclusion(record._replace(enabled=enabled, move=None, handler_status=status), records.ENABLED)
    if step.kind == plan.DISABLE:
        status = HandlerStatus("NotReady", 0, "Plugin disabled")
        record = record._replace(enabled=None, handler_status=status)
        if key.state == "enabled" and step.version != key.version:
            record = _moved(record, step.version, key.version, plan.DISABLE, "0")
        return Conclusion(record, records.INSTALLED)
    if step.kind == plan.UPDATE:
        source = record.move.source if record.move is not None else step.version
        return Conclusion(_moved(record, source, key.version, plan.UPDATE, "0"), None)
    if key.state == "enabled":
        record = _moved(record, step.version, key.version, plan.UNINSTALL, "0")
    return Conclusion(record, records.NOT_INSTALLED)


def carried(record: Record, step: Step) -> Record:
    """Return the record after the old version's files were copied."""
    return _moved(record, step.source, step.version, plan.CARRY, "0")


def forgotten(record: Record, now: str) -> Record:
    """Return the record of an extension that is gone, or left as it is: the agent has nothing more to do with it."""
    unwell = record.handler_status if record.handler_status is not None and record.handler_status.code else None
    reason, message = ("UninstallFailed", unwell.message) if unwell else ("", "")
    verdict = Verdict(REMOVED, "Uninstall", reason, message, now)
    return record._replace(verdict=verdict, move=None, enabled=None, handler_status=None)


def _moved(record: Record, source: str, target: str, kind: str, code: str) -> Record:
    done = dict(record.move.done) if record.move is not None and record.move.target == target else {}
    done[kind] = code
    return record._replace(move=Move(source, target, done))


def _continues(target: Folder | None) -> bool:
    return target is not None and target.continue_on_update_failure


def _is_new(step: Step) -> bool:
    return step.version == step.key.version
