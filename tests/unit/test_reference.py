"""docs/reference is what `make reference` makes of the kinds, and says all that is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

import reference
from reference.render import CRDS


def texts(node: Any) -> Iterator[str]:
    """Yield every description and every rule's message in a kind."""
    if isinstance(node, Mapping):
        yield from (node[key] for key in ("description", "message") if isinstance(node.get(key), str))
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def test_the_reference_is_up_to_date() -> None:
    there = {path.name: path.read_text() for path in reference.FOLDER.glob("*.md")}
    assert there == reference.pages(), "run `make reference`"


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_page_has_every_field_and_rule_of_its_kind(path: Any) -> None:
    crd = yaml.safe_load(path.read_text())
    page = reference.pages()[f"{crd['spec']['names']['kind'].lower()}.md"]
    for version in crd["spec"]["versions"]:
        for part in ("spec", "status"):
            for name in version["schema"]["openAPIV3Schema"]["properties"].get(part, {}).get("properties", {}):
                assert f"| `{name}` |" in page
    squeezed = " ".join(page.split()).replace("&lt;", "<").replace("\\|", "|")
    # What every kind has, and what only says that a list's item is one.
    dull = ("Version of the API", "Always ", "One ")
    told = {" ".join(text.split()) for text in texts(crd) if not text.startswith(dull)}
    assert sorted(text for text in told if text not in squeezed) == []
