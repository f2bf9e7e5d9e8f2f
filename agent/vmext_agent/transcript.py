"""What a command leaves: the message that its result is told by, its lines in the handler's log, its output."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vmext_agent import clock, diagnosis, endings, files, output
from vmext_agent.goal_state import Key
from vmext_agent.handler import PATH
from vmext_agent.lifecycle import CANCELLED, TIMED_OUT, Result
from vmext_agent.steps import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.handler import Handler
    from vmext_agent.layout import Layout
    from vmext_agent.running import Running

#: Bytes of each stream in a status, half of them from its beginning and half from its end.
_IN_STATUS = 3000
_IN_LOG = 32 << 10
_LOG_BYTES = 10 << 20


def purpose_of(step: Step, *, until: float, settings: str) -> dict[str, object]:
    """Return a step as JSON, with when its status must be final (seconds since boot) and its settings' digest."""
    made = {**step._asdict(), "key": step.key._asdict(), "variables": dict(step.variables)}
    return {**made, "until": until, "settings": settings}


def step_of(purpose: Mapping[str, object]) -> Step | None:
    """Return the step of a purpose, None where it is none."""
    key, variables = purpose.get("key"), purpose.get("variables")
    texts = [purpose.get(name) for name in ("kind", "extension", "handler", "version", "source")]
    if not isinstance(key, dict) or not isinstance(variables, dict):
        return None
    kind, extension, handler, version, source = (text if isinstance(text, str) else "" for text in texts)
    try:
        made = Key(**key)
    except TypeError:
        return None
    # A number can be none: True is an int to Python.
    if [type(part) for part in made] != [str, str, int, str]:
        return None
    if not all(isinstance(value, str) for value in variables.values()):
        return None
    return Step(kind, extension, handler, version, made, variables, source, purpose.get("back") is True)


def settings_of(purpose: Mapping[str, object]) -> str:
    """Return the digest of the settings that a command was given, empty where it got no new ones."""
    settings = purpose.get("settings")
    return settings if isinstance(settings, str) else ""


def until_of(purpose: Mapping[str, object]) -> float:
    """Return when the status of what a command enables must be final, in seconds since the boot that it began in."""
    try:
        return clock.number(purpose.get("until"))
    except ValueError:
        return clock.since_boot()


def result_of(running: Running, code: int, handler: Handler, why: str, *, memory_limit: int = 0) -> Result:
    """Return how a command ended, in the contract's words (section 5).

    Args:
        running: the command.
        code: its exit status, as a shell has it.
        handler: whose it is.
        why: of ``endings``.
        memory_limit: the handler's, in bytes; 0 for none.
    """
    streams = _streams(running.folder, _IN_STATUS)
    if why == "TimedOut":
        return Result(TIMED_OUT, f"Timeout: {running.line}\n{streams}", why)
    if why == CANCELLED:
        return Result(code or -1, f"{CANCELLED}: the goal no longer wants it: {running.line}\n{streams}", why)
    if code == 0:
        return Result(0)
    if why == endings.OUT_OF_MEMORY:
        reason, known = why, diagnosis.out_of_memory(memory_limit)
    else:
        reason, known = diagnosis.explain(code, handler.folder, running.line, PATH)
    words = f" ({known})" if known else ""
    message = f"[ExtensionOperationError] Non-zero exit code: {code}, {running.line}{words}\n{streams}"
    return Result(code, message, reason)


def _streams(folder: str, limit: int) -> str:
    out, err = (output.excerpt(f"{folder}/{stream}", limit) for stream in output.STREAMS)
    return f"[stdout]\n{out}\n\n[stderr]\n{err}"


def note(handler: Handler, running: Running, code: int, extension: str = "") -> None:
    """Append a command and what it printed to the handler's CommandExecution.log. Raises OSError.

    A handler that takes several extensions has one such log for each, named after it.
    """
    path = f"{handler.log_folder}/CommandExecution{extension and f'_{extension}'}.log"
    text = (
        f"{clock.log_time(time.time())} INFO {handler.log_prefix} Command: {running.line}\n"
        f"{_streams(running.folder, _IN_LOG)}\nExit code: {code}\n"
    )
    files.make_folder(handler.log_folder, 0o755)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size > _LOG_BYTES:
            kept = os.pread(descriptor, _LOG_BYTES // 2, size - _LOG_BYTES // 2)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, kept[kept.find(b"\n") + 1 :])
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    finally:
        os.close(descriptor)


def trim(running: Running) -> int:
    """Keep a running command's output below its cap; return how many bytes it has now."""
    return sum(output.trim(f"{running.folder}/{stream}") for stream in output.STREAMS)


def keep_streams(folder: str, layout: Layout, extension: str) -> bool:
    """Keep what background children still write to; tell whether there is any. Raises OSError."""
    return output.keep_open(folder, layout.output, extension)


def sweep(layout: Layout) -> int:
    """Remove kept output that nobody writes to any more; return how many files are left."""
    try:
        return output.sweep(layout.output)
    except OSError:
        return 1
