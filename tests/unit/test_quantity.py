"""Quantities of the catalog as whole numbers."""

from __future__ import annotations

import pytest

from vmext_operator.api import quantity
from vmext_operator.errors import ParseError


@pytest.mark.parametrize(
    ("text", "count"), [("2", 2000), ("0.5", 500), ("500m", 500), ("0.001", 1), ("0", 1), ("0m", 1), ("1.5", 1500)]
)
def test_cores_are_thousandths_and_never_none(text: str, count: int) -> None:
    assert quantity.millicores(text, "cpu") == count


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("1k", 1000), ("1Ki", 1024), ("256Mi", 2**28), ("1G", 10**9), ("0", 1)]
)
def test_sizes_are_bytes(text: str, count: int) -> None:
    assert quantity.size(text, "memory") == count


@pytest.mark.parametrize("text", ["", "1x", "-1", "1.5Gi", "1e3", " 1", "m", "1 Gi"])
def test_what_is_no_quantity_is_refused_with_its_path(text: str) -> None:
    for read in (quantity.millicores, quantity.size):
        with pytest.raises(ParseError, match=r"spec\.limits"):
            read(text, "spec.limits")
