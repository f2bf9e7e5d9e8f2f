"""The agent of a machine: carries out its goal state by the Azure guest contract, and reports what came of it."""

__version__ = "0.1.0"
