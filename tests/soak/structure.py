"""Inputs that nearly are what they should be, for hypothesis: JSON near a schema, zips near a package."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from soak import forge, samples, tree
from soak.target import Target

_LEAVES = st.one_of(
    st.sampled_from(tree.ODD),
    st.text(max_size=20),
    st.integers(-(1 << 65), 1 << 65),
    st.floats(),
    st.booleans(),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_MANIFEST = json.dumps([{"handlerManifest": samples.COMMANDS}]).encode()


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return what makes inputs for a target."""
    return _documents(target) if target.documents else _packages()


def _documents(target: Target) -> st.SearchStrategy[bytes]:
    odd = st.sampled_from(tree.ODD)
    values = st.one_of(odd, odd, _VALUES, st.sampled_from(list(target.words)))
    edit = st.tuples(st.integers(0, 200), st.sampled_from(tree.OPERATIONS), values)

    def make(document: Any, edits: list[tuple[int, str, Any]]) -> bytes:
        for position, operation, value in edits:
            document = tree.edited(document, position, operation, value)
        return target.render(document)

    return st.builds(make, st.sampled_from(list(target.documents)), st.lists(edit, min_size=1, max_size=4))


def _packages() -> st.SearchStrategy[bytes]:
    piece = st.sampled_from(
        ["a", "b", "..", ".", "", "bin", "HandlerManifest.json", "x" * 255, "\\", "\0", "\ud800", "é"]
    )
    names = st.one_of(
        st.sampled_from(forge.NAMES),
        st.lists(piece, min_size=1, max_size=4).map("/".join),
        st.text(max_size=10),
        st.integers(1, 2000).map(lambda depth: "d/" * depth + "f"),
    )
    lies = st.lists(st.tuples(st.sampled_from(sorted(forge.FIELDS)), st.sampled_from(forge.LIES)), max_size=2).map(
        tuple
    )
    part = st.builds(
        forge.Part,
        name=names,
        content=st.one_of(st.binary(max_size=200), st.integers(0, 1 << 21).map(bytes)),
        kind=st.sampled_from(forge.KINDS),
        mode=st.integers(0, 0o7777),
        method=st.sampled_from(forge.METHODS),
        lies=lies,
        spoilt=st.booleans(),
    )
    honest = forge.Part("HandlerManifest.json", _MANIFEST, method=8)
    manifest = st.lists(st.just(honest), min_size=0, max_size=1)
    return st.tuples(manifest, st.lists(part, max_size=4)).map(lambda found: forge.zipped([*found[0], *found[1]]))


def feed(target: Target, seed: int, count: int, try_one: Callable[[bytes], object]) -> None:
    """Try so many inputs; the same seed makes the same ones."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(inputs(target))
    def run(data: bytes) -> None:
        # What is found is noted by whoever tries it: a search that ends at the first finding is no count.
        try_one(data)

    run()
