"""The development control plane's errors."""


class ControlPlaneError(Exception):
    """Root of the errors of this package: what happened, to what, and what to do."""


class SourceError(ControlPlaneError):
    """One way to the programs does not work here; the next one is tried."""
