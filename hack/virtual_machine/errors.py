"""The virtual machines' errors."""


class VirtualMachineError(Exception):
    """Root of the errors of this package: what happened, to what, and what to do."""


class UnavailableError(VirtualMachineError):
    """This computer can't run virtual machines, or can't make their disk; the message names what is missing."""
