"""The one tree of the agent's errors; each says what happened, to what, and what to do."""

from __future__ import annotations


class AgentError(Exception):
    """The root: what the agent knows how to say in words."""


class ConfigurationError(AgentError):
    """The agent's own configuration can't be used; nothing starts before it is put right."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")


class GoalStateError(AgentError):
    """A part of a goal state can't be read; ``path`` says where, as in ``spec.extensions[2].settings``."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class ManifestError(AgentError):
    """A HandlerManifest.json can't be used; ``code`` is the contract's (-1, 1002 or 1003)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class PackageError(AgentError):
    """A package can't be had or used; ``reason`` is CamelCase, ``code`` the contract's."""

    def __init__(self, reason: str, message: str, code: int = 1001) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class StatusError(AgentError):
    """A status file is malformed (the contract's code 1012)."""


class CommandLostError(AgentError):
    """A command's process is gone and it left no exit status."""


class OpensslError(AgentError):
    """openssl could not be run, or failed; in its own last words."""


class IdentityError(AgentError):
    """The machine's key or certificate can't be made or used."""
