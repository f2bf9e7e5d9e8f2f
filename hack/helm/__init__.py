"""A real helm for tests of the charts: obtained as the control plane's programs are, and run as its users run it."""

from helm.program import Helm, HelmError
from helm.sources import obtain

__all__ = ["Helm", "HelmError", "obtain"]
