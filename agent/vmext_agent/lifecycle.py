"""What is known after a step: pure, so that a result means the same to the agent that began it and to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import change, goal_state, records, status, steps
from vmext_agent.records import Deadline, Enabled, Failure, HandlerStatus, Verdict

if TYPE_CHECKING:
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.records import Disk, Folder, Move, Record
    from vmext_agent.status import ExtensionStatus
    from vmext_agent.steps import Step

SUCCEEDED, FAILED, RUNNING, REMOVED = "Succeeded", "Failed", "Running", "Removed"

_FAILURES = {
    steps.INSTALL: ("InstallFailed", 1007),
    steps.UPDATE: ("UpdateFailed", 1008),
    steps.ENABLE: ("EnableFailed", 1009),
    steps.DISABLE: ("DisableFailed", 1010),
    steps.UNINSTALL: ("UninstallFailed", 1000),
}
TIMED_OUT = 1011
BUSY = "PackageManagerBusy"
CANCELLED = "Cancelled"


class Result(NamedTuple):
    """How a command ended: ``code`` is its exit code, or 1011 where it was ended for taking too long.

    ``reason`` is set where more is known than "not 0": TimedOut, Cancelled, Interrupted, UnsupportedOS ...
    """

    code: int
    message: str = ""
    reason: str = ""


class Conclusion(NamedTuple):
    """What is to be recorded, each as it is from now on.

    Attributes:
        record: the extension's.
        state: the folder's; None for as it was.
        move: the handler's; None for none.
        retry: the step is to be tried again after a while, for this reason.
    """

    record: Record
    state: str | None
    move: Move | None
    retry: str = ""


def operation(kind: str) -> str:
    """Return a step's name in a status (``crds/goalstates.yaml``)."""
    if kind in (*steps.COMMANDS, steps.DOWNLOAD):
        return kind.capitalize()
    if kind in (steps.REMOVE, steps.FORGET):
        return "Uninstall"
    return "Enable" if kind in (steps.ACCEPT, steps.REWRITE) else "Update"


def is_first_attempt(record: Record, step: Step, *, is_known: bool) -> bool:
    """Tell whether an enable is begun for the first time: what is in its status file by then is no answer of its.

    Handlers write under the number that they are given also when they are updated or disabled, and skip a number that
    they have seen: what an earlier attempt of the same enable wrote is all that will ever be there.

    Args:
        record: the extension's.
        step: the enable.
        is_known: it is enabled with this number by the handler's own folder, where the agent knows of none.
    """
    known = [one[:3] for one in (record.attempt, record.enabled) if one is not None]
    return not is_known if not known else (step.key.uid, step.key.version, step.key.sequence_number) not in known


def outcome(record: Record, said: ExtensionStatus | None, now: float, identity: str = "") -> str:
    """Return how an enabled extension stands, by its status file and the time it has; a late word wins over time.

    `identity` is the status file's (``status_files.identity``).
    `now` is in seconds since the boot that it was enabled in; 0 in another boot, in which its time has not begun.
    """
    if record.enabled is None or not record.is_enabled:
        return RUNNING
    if said is not None and said.is_final:
        return FAILED if said.status == status.ERROR else SUCCEEDED
    return FAILED if now >= record.enabled.until or was_not_resumed(record, identity) else RUNNING


def was_not_resumed(record: Record, identity: str) -> bool:
    """Tell whether an extension's work was found to be cut off for good, and nothing has been written since."""
    enabled, attempt = record.enabled, record.attempt
    return enabled is not None and enabled.not_resumed != "" and attempt is not None and attempt.before == identity


def may_not_be_resumed(record: Record, said: ExtensionStatus | None, identity: str, *, boot: str, now: float) -> bool:
    """Tell whether an extension is where it was when its work was cut off, although it has been enabled again since.

    A handler that skips a number which it has seen writes no more: where nothing of it runs, it is over.
    """
    enabled, attempt = record.enabled, record.attempt
    if enabled is None or attempt is None or not record.is_enabled or record.verdict is not None:
        return False
    if record.key.state != goal_state.ENABLED or enabled.boot != boot or enabled.not_resumed or now >= enabled.until:
        return False
    return attempt[:3] == enabled[:3] and attempt.before == identity and (said is None or not said.is_final)


def fail(record: Record, step: Step, reason: str, message: str, code: int, now: str, *, retry: bool = False) -> Record:
    """Return the record of an extension whose step failed."""
    verdict = Verdict(FAILED, operation(step.kind), reason, message, now, retry)
    return record._replace(verdict=verdict, handler_status=HandlerStatus("NotReady", code, message))


def conclude(
    record: Record, step: Step, result: Result, disk: Disk, *, now: float, ended: str, until: float
) -> Conclusion:
    """Return what is known after a command. Concluded twice, it ends the same.

    Args:
        record: the extension's.
        step: that was carried out.
        result: how it ended.
        disk: as it was before.
        now: seconds since boot.
        ended: the time as RFC 3339.
        until: when the status of an extension enabled now must be final, in seconds since boot.
    """
    move = disk.moves.get(step.handler)
    if step.back:
        return _conclude_back(record, step, result, disk, move, until)
    if step.key.state != goal_state.ENABLED:
        return _conclude_removal(record, step, result, disk, move, ended)
    if result.code == 0:
        return _succeeded(record, step, disk, move, until)
    if step.kind == steps.INSTALL:
        # It was tried: a way back has something to uninstall.
        move = _noted(move, step, str(result.code))
    if result.reason == CANCELLED:
        # Something else is wanted by now; it was not its fault, and what was enabled before is what to go back to.
        code = code_of(step, result)
        return Conclusion(fail(record, step, CANCELLED, result.message, code, ended, retry=True), None, move)
    if step.kind == steps.ENABLE:
        # The handler's state stays: what an earlier enable has started is still to be disabled (contract, A1).
        record = record._replace(enabled=None)
    if result.reason == BUSY and step.kind in (steps.INSTALL, steps.UPDATE, steps.ENABLE):
        busy_until = record.busy_until
        if busy_until is None or busy_until.boot != disk.boot:
            busy_until = Deadline(disk.boot, until)
        if now < busy_until.at:
            return Conclusion(record._replace(busy_until=busy_until), None, move, retry=BUSY)
    return _failed(record, step, result, disk, move, ended)


def _failed(record: Record, step: Step, result: Result, disk: Disk, move: Move | None, ended: str) -> Conclusion:
    folders = disk.handlers.get(step.handler, {})
    is_old = move is not None and step.version == move.source
    if move is not None and is_old and step.kind in (steps.DISABLE, steps.UNINSTALL):
        target = folders.get(move.target)
        if target is not None and target.continue_on_update_failure:
            return _went_on(record, step, str(result.code), disk, move)
    reason, code = result.reason or _FAILURES[step.kind][0], code_of(step, result)
    if move is not None and (is_old or step.kind != steps.ENABLE or _takes_back(step, move)):
        code = 1008 if is_old and step.kind != steps.UPDATE else code
        failure = Failure(step.kind, step.extension, reason, code, result.message)
        return Conclusion(record, None, move._replace(failure=move.failure or failure))
    return Conclusion(fail(record, step, reason, result.message, code, ended), None, move)


def _takes_back(step: Step, move: Move) -> bool:
    """Tell whether a failing enable takes the new version back: not that of an extension that the old one never had."""
    return not move.was or step.extension in move.was


def code_of(step: Step, result: Result) -> int:
    """Return the contract's code for a command that failed."""
    return TIMED_OUT if result.code == TIMED_OUT else _FAILURES[step.kind][1]


def _after_disable(step: Step, folder: Folder | None) -> str:
    """Return a handler's state once one of its extensions is not enabled any more (contract, 4)."""
    others = folder.enabled - {step.extension} if folder is not None and folder.multi_config else frozenset()
    return records.ENABLED if others else records.INSTALLED


def _succeeded(record: Record, step: Step, disk: Disk, move: Move | None, until: float) -> Conclusion:
    key, folder = step.key, disk.handlers.get(step.handler, {}).get(step.version)
    if step.kind == steps.INSTALL:
        status_ = HandlerStatus("NotReady", 0, "Plugin installed but not enabled")
        return Conclusion(record._replace(handler_status=status_), records.INSTALLED, _noted(move, step, "0"))
    if step.kind == steps.ENABLE:
        enabled = Enabled(key.uid, key.version, key.sequence_number, disk.boot, until)
        status_ = HandlerStatus("Ready", 0, "Plugin enabled")
        return Conclusion(
            record._replace(enabled=enabled, handler_status=status_, busy_until=None), records.ENABLED, move
        )
    if step.kind == steps.UPDATE:
        return Conclusion(record, None, _noted(move, step, "0"))
    if step.kind == steps.DISABLE and move is None:
        status_ = HandlerStatus("NotReady", 0, "Plugin disabled")
        return Conclusion(record._replace(enabled=None, handler_status=status_), _after_disable(step, folder), move)
    return _went_on(record, step, "0", disk, move)


def _went_on(record: Record, step: Step, code: str, disk: Disk, move: Move | None) -> Conclusion:
    """Return what is known after the old version's disable or uninstall, which may have failed."""
    if step.kind == steps.DISABLE:
        folder = disk.handlers.get(step.handler, {}).get(step.version)
        status_ = HandlerStatus("NotReady", 0, "Plugin disabled")
        gone = record._replace(enabled=None, handler_status=status_)
        return Conclusion(gone, _after_disable(step, folder), _noted(move, step, code))
    return Conclusion(record, records.NOT_INSTALLED, _noted(move, step, code))


def _noted(move: Move | None, step: Step, code: str, mark: str = "") -> Move | None:
    return None if move is None else move._replace(done={**move.done, mark or step.mark: code})


def _conclude_removal(
    record: Record, step: Step, result: Result, disk: Disk, move: Move | None, ended: str
) -> Conclusion:
    folder = disk.handlers.get(step.handler, {}).get(step.version)
    reason, code = result.reason or _FAILURES[step.kind][0], code_of(step, result)
    if step.kind == steps.DISABLE:
        if result.code != 0 and folder is not None and not folder.multi_config:
            return Conclusion(fail(record, step, reason, result.message, code, ended), None, move)
        words = f"Disable failed and is passed over: {result.message}" if result.code else "Plugin disabled"
        status_ = HandlerStatus("NotReady", 0, words)
        gone = record._replace(enabled=None, handler_status=status_)
        return Conclusion(gone, _after_disable(step, folder), move)
    # As in the contract: whoever deletes an extension is not helped by half of it staying.
    noted = record._replace(removal=record.removal or records.UNINSTALLED)
    if result.code:
        noted = noted._replace(handler_status=HandlerStatus("NotReady", code, result.message))
    return Conclusion(noted, records.NOT_INSTALLED, _noted(move, step, str(result.code), step.gone_mark))


def _conclude_back(
    record: Record, step: Step, result: Result, disk: Disk, move: Move | None, until: float
) -> Conclusion:
    """Return what is known after a command that restores what was."""
    folder = disk.handlers.get(step.handler, {}).get(step.version)
    noted = _noted(move, step, str(result.code))
    if noted is not None and result.code != 0:
        noted = noted._replace(lost={**noted.lost, step.mark: result.message or f"exit code {result.code}"})
    if step.kind == steps.DISABLE:
        return Conclusion(record._replace(enabled=None), _after_disable(step, folder), noted)
    if step.kind == steps.UNINSTALL:
        return Conclusion(record, records.NOT_INSTALLED, noted)
    if step.kind == steps.INSTALL:
        return Conclusion(record, records.INSTALLED if result.code == 0 else None, noted)
    if result.code == 0:
        key = step.key
        enabled = Enabled(key.uid, key.version, key.sequence_number, disk.boot, until)
        status_ = HandlerStatus("Ready", 0, "Plugin enabled")
        return Conclusion(record._replace(enabled=enabled, handler_status=status_), records.ENABLED, noted)
    status_ = HandlerStatus("NotReady", code_of(step, result), result.message)
    return Conclusion(record._replace(enabled=None, handler_status=status_), None, noted)


# -- steps that take no time


def begun(step: Step, entry: Entry, disk: Disk) -> Move:
    """Return the move that a change begins with; one that is there already stays."""
    return disk.moves.get(step.handler) or change.new_move(entry, step.source, disk)


def carried(step: Step, move: Move) -> Move:
    """Return the move after the old version's files were copied."""
    return move._replace(done={**move.done, step.mark: "0"})


def taken_back(move: Move, wanted: str) -> Move:
    """Return the move that is taken back because another version is wanted."""
    failure = Failure("", "", CANCELLED, 0, f"version {wanted} is wanted by now")
    return move._replace(failure=move.failure or failure)


def after_aside(folder: Folder | None) -> str | None:
    """Return the new version's state once the old one is out of the way: an update may be all that it wants."""
    if folder is not None and not folder.update_with_install and folder.state not in records.IN_FORCE:
        return records.INSTALLED
    return None


def concerned(move: Move, goal: Goal, disk: Disk) -> list[Entry]:
    """Return the entries that a version which was taken back was for: they fail with it."""
    found = []
    for entry in goal.entries:
        if (entry.handler, entry.version, entry.key.state) != (move.handler, move.target, goal_state.ENABLED):
            continue
        record = disk.records.get(entry.name)
        # Whose entry has changed since work began on it is tried anew.
        if record is None or record.key == entry.key or record.key.version != move.target:
            found.append(entry)
    return found if move.failure is not None and move.failure.kind else []


def returned(record: Record, move: Move, disk: Disk, now: str) -> Record:
    """Return the record of an extension that wanted a version which was taken back."""
    failure = move.failure
    assert failure is not None, "only a change that failed returns"
    marks = (f"back {steps.INSTALL}", f"back {steps.ENABLE} {record.extension}")
    lost = [move.lost[mark] for mark in marks if mark in move.lost]
    if lost or disk.in_force(move.handler) is None:
        why = "\n".join(lost) or f"the folder of version {move.source} is gone"
        reason = "RollbackFailed"
        message = (
            f"version {move.target} failed ({failure.reason}), and the way back to {move.source} failed too: {why}\n"
            f"-- what {move.target} failed with: {failure.message}"
        )
    else:
        reason = failure.reason
        message = f"version {move.target} failed, {move.source} is back in force: {failure.message}"
    failed_in = operation(failure.kind)
    verdict = Verdict(FAILED, failed_in, reason, message, now, failed_version=move.target)
    return record._replace(verdict=verdict, handler_status=HandlerStatus("NotReady", failure.code, message))


def discarded(record: Record, folder: Folder | None) -> Record:
    """Return the record of an extension after a folder of its handler was removed."""
    is_unusable = folder is not None and folder.state == records.UNUSABLE
    return record._replace(removal=records.DISCARDED) if is_unusable else record


def forgotten(record: Record, now: str, kept_by: str) -> Record:
    """Return the record of an extension that is gone, or left as it is: the agent has nothing more to do with it.

    It claims an uninstall only where one was run and ended well: what else came of a removal has a reason of its own.
    `kept_by` is who keeps the handler, empty for no extension.
    """
    reason, message = "", ""
    if record.key.state == goal_state.UNINSTALL:
        reason, message = _removal(record, kept_by)
    verdict = Verdict(REMOVED, "Uninstall", reason, message, now, kept_by=kept_by)
    return record._replace(verdict=verdict, enabled=None, handler_status=None, removal="")


def _removal(record: Record, kept_by: str) -> tuple[str, str]:
    """Return the reason and the words for a removal, both empty where the handler's own uninstall did it."""
    handler, status_ = record.handler, record.handler_status
    if kept_by:
        return "HandlerKept", f"{handler} stays, which {kept_by} has"
    if status_ is not None and status_.code:
        return "UninstallFailed", status_.message
    if record.removal == records.DISCARDED:
        why = f"a folder of {handler} could not be used, so that no uninstall could be run in it; it was removed"
        return "NotUninstalled", why
    if record.removal == records.UNINSTALLED:
        return "", ""
    if record.enabled is not None:
        return "NotUninstalled", f"{handler} was enabled, and its folder was gone before its uninstall could be run"
    return "NothingInstalled", f"nothing of {handler} was installed"
