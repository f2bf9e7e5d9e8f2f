"""What stands in a goal for protected settings: encrypted again only when it has to be, and never told of."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from support import objects
from support.certificates import certificate, rsa_key
from vmext_operator.api import extension_image, virtual_machine, virtual_machine_extension
from vmext_operator.api.credential import Pinned
from vmext_operator.api.goal_state import Goal
from vmext_operator.api.protected import Protected, Sealed
from vmext_operator.core import goal_compile, protected, verdict
from vmext_operator.core.certificate import read
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason

MINE = read(certificate("uid-vm", rsa_key(1)))
PINNED = Pinned("uid-anchor", MINE.pem, MINE.thumbprint)
OTHER = "CD" * 20
SECRET = Protected("s", "k")


def seal(plain: bytes, pem: str) -> str:
    return f"sealed {len(plain)} for {pem[30:40]}"


def test_what_is_the_same_for_the_same_certificate_is_not_encrypted_again() -> None:
    before = Sealed("before", MINE.thumbprint, "content")

    assert protected.of_secret(b"{}", "content", PINNED, before, seal) is before
    assert protected.of_secret(b"{}", "other", PINNED, before, seal).content == "other"
    moved = protected.of_secret(b"{}", "content", PINNED, before.__class__("before", OTHER, "content"), seal)
    assert (moved.thumbprint, moved.content) == (MINE.thumbprint, "content")


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (None, "there is no key k of Secret s"),
        (b"canary", "is not JSON"),
        (b'["canary"]', "is not a JSON object"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 60_000, "is not JSON"),
        (b'{"canary": "' + b"x" * 70_000 + b'"}', "at most 65536"),
    ],
)
def test_what_is_no_json_object_is_refused_without_a_word_of_it(plain: bytes | None, words: str) -> None:
    held = protected.refusal(SECRET, plain)

    assert held is not None
    assert held.reason is Reason.SECRET_INVALID
    assert words in held.message
    assert "canary" not in held.message
    assert protected.refusal(SECRET, b'{"a": 1}') is None


def test_what_was_encrypted_beforehand_goes_through_untouched() -> None:
    declared = Protected(encrypted=((MINE.thumbprint, "mine"), (OTHER, "others")))
    found = protected.of_encrypted(declared, PINNED, "web-1", None)

    assert isinstance(found, Sealed)
    assert (found.ciphertext, found.thumbprint) == ("mine", MINE.thumbprint)
    assert protected.of_encrypted(declared, PINNED, "web-1", found) == found
    # Encrypted for another certificate before: what was in force still stands there.
    before = Sealed("others", OTHER, "content")
    moved = protected.of_encrypted(declared, PINNED, "web-1", before)
    assert isinstance(moved, Sealed)
    assert moved.content == "content"
    # And so it stays, however often it is looked at.
    assert isinstance(moved, Sealed)
    assert protected.of_encrypted(declared, PINNED, "web-1", moved) == moved
    held = protected.of_encrypted(Protected(encrypted=((OTHER, "x"),)), PINNED, "web-1", None)
    assert isinstance(held, verdict.Held)
    assert held.reason is Reason.WRONG_CERTIFICATE


def compiled(last: Goal | None, sealed: Any, **spec: Any) -> goal_compile.Compiled:
    extension = virtual_machine_extension.parse(objects.extension("one", spec=spec))
    return goal_compile.compile_goal(
        Declared(
            machine=virtual_machine.parse(objects.machine()),
            extensions=[extension],
            catalog={extension.handler_key: [extension_image.parse(objects.image())]},
            last=last,
            report=None,
            gone=frozenset(),
            now=datetime(2026, 1, 2, tzinfo=UTC),
            protected={} if sealed is None else {extension.meta.uid: sealed},
        )
    )


def test_a_number_rises_with_the_content_and_not_with_the_certificate() -> None:
    first = compiled(None, Sealed("a", MINE.thumbprint, "one")).goal
    again = compiled(first, Sealed("b", OTHER, "one")).goal
    other = compiled(again, Sealed("c", OTHER, "two")).goal
    without = compiled(other, None).goal

    numbers = [goal.extensions[0].sequence_number for goal in (first, again, other, without)]
    assert numbers == [1, 1, 2, 3]
    assert again.extensions[0].sealed == Sealed("b", OTHER, "one")
    rendered = other.extensions[0].render()
    assert (rendered["protectedSettings"], rendered["thumbprint"], rendered["protectedHash"]) == ("c", OTHER, "two")
    assert "protectedSettings" not in without.extensions[0].render()
    json.dumps(rendered)


def test_what_can_not_be_had_holds_back_and_leaves_in_force_what_is() -> None:
    held = verdict.stalls(Reason.SECRET_NOT_FOUND, "no Secret")
    first = compiled(None, Sealed("a", MINE.thumbprint, "one")).goal

    assert compiled(None, held).goal.extensions == ()
    later = compiled(first, held)
    assert later.goal.extensions == first.extensions
    assert list(later.held.values()) == [held]
