"""Flux for tests: its real source-controller and kustomize-controller, run outside the cluster, and their kinds."""

from flux.controllers import Flux, running
from flux.sources import Controllers, obtain

__all__ = ["Controllers", "Flux", "obtain", "running"]
