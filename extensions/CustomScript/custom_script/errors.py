"""The handler's errors: each knows the exit code that its command ends with."""

from __future__ import annotations


class HandlerError(Exception):
    """Root of all errors that the handler raises on purpose. The message never holds a setting's value.

    Attributes:
        exit_code: what the command exits with.
        output: what the script printed until then, as it goes into the status; never into the log.
    """

    exit_code = 1

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


class MissingDependencyError(HandlerError):
    """A program that the handler needs is not on this machine."""

    exit_code = 52


class SettingsError(HandlerError):
    """The settings can't be used as they are; the message names the field."""

    exit_code = 53


class ScriptError(HandlerError):
    """The user's part failed: a download, or the script itself.

    The handler did its work then: the command exits 0, and the status says ``error``.
    """

    exit_code = 0


class CancelledError(HandlerError):
    """The agent asked the handler to stop."""

    # The shell's way to say "ended by SIGTERM".
    exit_code = 143
