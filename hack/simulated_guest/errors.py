"""The errors of the simulated guest: one tree."""

from __future__ import annotations


class GuestError(Exception):
    """Tell that something asked of a guest was not done; the message names the guest and the reason."""


class GuestUnavailableError(GuestError):
    """Tell that this machine can't make a guest; the message lists what was tried and why each failed."""


class SetupError(GuestError):
    """Tell which step of making a guest's disk or of booting it the kernel refused."""
