"""What an enrolment is, by what was there before."""

from __future__ import annotations

import pytest

from vmext_agent import predecessor
from vmext_agent.predecessor import Kind, Predecessor

GIVEN = {"namespace": "default", "name": "web-1", "uid": "uid-1", "anchorUID": "anchor-1"}
WHOLE = Predecessor("default/web-1", "uid-1", "anchor-1", is_whole=True)
OTHER_UID = WHOLE._replace(uid="uid-0")
OTHER = Predecessor("default/db-1", "uid-9", "anchor-9", is_whole=True)
COPY = "it was enrolled on another machine"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (Predecessor(), Kind.FIRST),
        (WHOLE, Kind.AGAIN),
        (WHOLE._replace(anchor_uid="anchor-0"), Kind.AGAIN),
        (WHOLE._replace(is_whole=False), Kind.AGAIN),
        (WHOLE._replace(copy_of=COPY), Kind.CONFIRMED),
        (WHOLE._replace(copy_of=COPY, anchor_uid="anchor-0"), Kind.TAKEN_OVER),
        (OTHER_UID, Kind.REMADE),
        (OTHER_UID._replace(copy_of=COPY), Kind.ANOTHER),
        (OTHER, Kind.REFUSED),
        (OTHER._replace(copy_of=COPY), Kind.ANOTHER),
        (OTHER._replace(is_whole=False), Kind.ANOTHER),
        (Predecessor(uid="uid-9"), Kind.ANOTHER),
    ],
)
def test_what_an_enrolment_is(before: Predecessor, expected: Kind) -> None:
    assert predecessor.decide(before, GIVEN) is expected


def test_what_an_enrolment_does_is_told_with_the_name_of_who_was_there() -> None:
    for kind, before in (
        (Kind.CONFIRMED, WHOLE._replace(copy_of=COPY)),
        (Kind.TAKEN_OVER, WHOLE._replace(copy_of=COPY)),
        (Kind.REMADE, OTHER_UID),
        (Kind.ANOTHER, WHOLE),
    ):
        told = predecessor.words(kind, before)
        assert "web-1" in told
        assert "\n" not in told
    assert predecessor.words(Kind.FIRST, Predecessor()) == ""
    assert predecessor.words(Kind.AGAIN, WHOLE) == ""
