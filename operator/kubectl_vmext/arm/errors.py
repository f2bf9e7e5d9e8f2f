"""Why a part of a template can't be carried over."""

from __future__ import annotations


class ArmError(Exception):
    """A part of a template that is not understood, or that nobody but Azure can tell.

    Its words name what is meant and never a parameter's value: that may be secret.
    """
