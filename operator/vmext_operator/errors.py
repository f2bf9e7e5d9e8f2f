"""The operator's errors: one tree, told apart by what the one who catches them has to do."""

from __future__ import annotations


class OperatorError(Exception):
    """Root of all errors that the operator raises on purpose."""


class ConfigurationError(OperatorError):
    """Tell that the operator was not told how to run, and what to do."""


class ParseError(OperatorError):
    """Tell that an object does not have the form of its kind.

    Attributes:
        path: where in the object, such as ``spec.extensions[2].handler``.
        reason: what is wrong there.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ClusterError(OperatorError):
    """Tell that a request to the API server did not do what was asked.

    Attributes:
        status: the HTTP status, 0 where none arrived.
        message: the server's own words, or the network's.
    """

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: {status or 'no answer'}: {message}")
        self.status = status
        self.message = message


class TransientClusterError(ClusterError):
    """A request that may succeed when it is made again: no answer, too many requests, a fault of the server."""


class ConflictError(ClusterError):
    """The object is no longer what the request was made from (409): look again, then decide again."""


class NotFoundError(ClusterError):
    """There is no such object (404)."""


class GoneError(ClusterError):
    """The server no longer remembers that resourceVersion (410): list again."""


class RefusedError(ClusterError):
    """The server will not do this however often it is asked: forbidden, invalid, too large."""


class CertificateError(OperatorError):
    """Tell why nothing can be encrypted to what a machine proposed as its certificate."""


class LeaseLostError(OperatorError):
    """Tell that this process does not lead, or no longer: it may write nothing."""


class WatchHangsError(OperatorError):
    """Tell that a watch tells nothing though there is something to tell: only another process gets another one."""
