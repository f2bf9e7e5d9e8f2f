"""What the plugin says instead of a traceback, and the exit code by which a script knows what it was."""

from __future__ import annotations

#: Exit codes; docs/kubectl-vmext.md lists them for those who write scripts.
FAILED, USAGE, NOT_FOUND, NO_RIGHTS, NO_CLUSTER, TIMED_OUT, TAKEN, INCOMPLETE = 1, 2, 3, 4, 5, 6, 7, 8


class PluginError(Exception):
    """Something that the one who runs the command can read and act on, in one line."""

    code = FAILED


class UsageError(PluginError):
    """The command was not given what it needs, or something that it can't read."""

    code = USAGE


class NotFoundError(PluginError):
    """What is named is not there."""

    code = NOT_FOUND


class NoRightsError(PluginError):
    """The API server does not let this user do that."""

    code = NO_RIGHTS


class NoClusterError(PluginError):
    """No API server is named, or the one that is named does not answer."""

    code = NO_CLUSTER


class TimedOutError(PluginError):
    """What was waited for did not come in time."""

    code = TIMED_OUT


class TakenError(PluginError):
    """The name is taken by something else, or somebody else looks after it."""

    code = TAKEN
