"""Builds extension packages: reproducible zips, and the catalog entries that offer them."""

from __future__ import annotations

from packages.build import Built, build, build_all, read_key
from packages.source import PackageError

__all__ = ["Built", "PackageError", "build", "build_all", "read_key"]
