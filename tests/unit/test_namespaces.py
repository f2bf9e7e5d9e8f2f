"""Which namespaces may be decided about, and when."""

from __future__ import annotations

import logging

import pytest

from vmext_operator.control.namespaces import CATALOG, NAMESPACED, Collection, Namespaces
from vmext_operator.errors import ClusterError, NotFoundError, RefusedError

FORBIDDEN = RefusedError("GET /apis/vmext.dev", 403, "forbidden")


class Seen(Namespaces):
    """Namespaces that take note of whom they told."""

    def __init__(self, *names: str) -> None:
        self.said: list[str] = []
        super().__init__(names, lambda one: self.said.append(f"+{one}"), lambda one: self.said.append(f"-{one}"))

    def list_all_of(self, *scopes: str) -> None:
        for scope in scopes:
            for collection in self.collections_of(scope):
                self.listed(collection)


def test_without_a_list_there_is_one_scope_and_nothing_is_decided_before_all_of_it_is_listed() -> None:
    seen = Seen()
    assert seen.every_collection() == (CATALOG, *(Collection(plural) for plural in NAMESPACED))
    seen.list_all_of("")
    assert not seen.admits("default")
    assert not seen.known.is_set()
    seen.listed(CATALOG)
    assert seen.admits("default")
    assert seen.admits("any")
    assert seen.known.is_set()
    assert seen.said == ["+"]


def test_with_a_list_the_catalog_is_one_collection_and_every_namespace_has_its_own() -> None:
    seen = Seen("a", "b", "a")
    assert len(seen.every_collection()) == 1 + 2 * len(NAMESPACED)
    assert Collection("goalstates", "b") in seen.every_collection()


def test_each_namespace_waits_for_itself_and_the_catalog_alone() -> None:
    seen = Seen("a", "b")
    seen.list_all_of("a")
    assert not seen.admits("a"), "what there is to be had is not known"
    seen.listed(CATALOG)
    assert (seen.admits("a"), seen.admits("b"), seen.admits("c")) == (True, False, False)
    assert not seen.known.is_set()
    seen.list_all_of("b")
    assert seen.known.is_set()
    assert seen.said == ["+a", "+b"]


def test_a_list_that_comes_again_opens_nothing_twice() -> None:
    seen = Seen("a")
    seen.listed(CATALOG)
    seen.list_all_of("a", "a")
    seen.listed(CATALOG)
    assert seen.said == ["+a"]


def test_one_that_cannot_be_read_holds_nobody_up_is_told_once_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen = Seen("a", "b")
    seen.listed(CATALOG)
    seen.list_all_of("a")
    for _ in range(3):
        seen.refused("b", FORBIDDEN)
    assert seen.known.is_set()
    assert (seen.admits("a"), seen.admits("b")) == (True, False)
    assert seen.out_of_reach == {"b"}
    assert {one.namespace for one in seen.readable()} == {"", "a"}
    (said,) = caplog.records
    assert "namespace=b" in said.getMessage()
    assert "helm upgrade" in said.getMessage()

    seen.list_all_of("b")
    assert (seen.admits("b"), seen.out_of_reach) == (True, frozenset())
    assert seen.said == ["+a", "-b", "+b"]
    assert caplog.records[-1].getMessage() == "namespace in reach again namespace=b"


def test_one_that_is_lost_is_left_alone_until_all_of_it_is_listed_anew() -> None:
    seen = Seen("a")
    seen.listed(CATALOG)
    seen.list_all_of("a")
    seen.refused("a", FORBIDDEN)
    seen.listed(Collection("virtualmachines", "a"))
    assert not seen.admits("a")
    assert seen.out_of_reach == {"a"}
    seen.list_all_of("a")
    assert seen.admits("a")


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        pytest.param("", FORBIDDEN, id="every namespace: there is no other"),
        pytest.param("a", RefusedError("GET /x", 400, "bad"), id="not about rights"),
        pytest.param("a", NotFoundError("GET /x", 404, "no such kind"), id="a kind is not served"),
    ],
)
def test_what_is_not_about_one_namespace_ends_the_operator(scope: str, error: ClusterError) -> None:
    with pytest.raises(ClusterError) as raised:
        Seen(*filter(None, [scope])).refused(scope, error)
    assert raised.value is error
