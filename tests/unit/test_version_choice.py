from __future__ import annotations

from typing import Any

import pytest

from support import objects
from vmext_operator.api import extension_image
from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version
from vmext_operator.core import version_choice
from vmext_operator.errors import ParseError

CATALOG = ["1.9.9", "2.0.0", "2.1.0", "2.1.6", "2.1.10", "2.3", "3.0.0", "3.0.0.1"]


def offered(*versions: str, **spec: Any) -> list[extension_image.ExtensionImage]:
    return [extension_image.parse(objects.image(version, **spec)) for version in versions]


@pytest.mark.parametrize(
    ("asked", "minor_upgrades", "chosen"),
    [
        ("2", True, "2.3"),
        ("2.0", True, "2.3"),
        ("2.1.7", True, "2.3"),
        ("2.4", True, None),
        ("3.0.0.0", True, "3.0.0.1"),
        ("1", True, "1.9.9"),
        ("4", True, None),
        ("2", False, "2.3"),
        ("2.1", False, "2.1.10"),
        ("2.1.6", False, "2.1.6"),
        ("2.1.7", False, None),
        ("3.0.0", False, "3.0.0.1"),
        ("2.3.0", False, "2.3"),
        ("2.3.0.1", False, None),
    ],
)
def test_the_highest_admitted_version_is_chosen(asked: str, minor_upgrades: bool, chosen: str | None) -> None:
    request = version_choice.Request(Version(asked), minor_upgrades, None)
    handler = version_choice.choose(request, offered(*CATALOG), None)
    assert (handler.version if handler else None) == chosen


def test_a_withdrawn_version_is_not_chosen() -> None:
    images = [*offered("2.1.0"), *offered("2.1.6", withdrawn=True)]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, None), images, None)
    assert handler is not None
    assert handler.version == "2.1.0"


@pytest.mark.parametrize("still_listed", [True, False])
def test_a_withdrawn_or_unlisted_version_stays_where_it_runs(still_listed: bool) -> None:
    withdrawn = offered("2.1.6", withdrawn=True)
    in_force = Handler("VMExt.CustomScript", "2.1.6", withdrawn[0].package)
    images = [*offered("2.1.0"), *(withdrawn if still_listed else [])]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, None), images, in_force)
    assert handler == in_force


def test_a_version_in_force_that_is_no_longer_asked_for_is_left() -> None:
    in_force = Handler("VMExt.CustomScript", "2.1.6", offered("2.1.6")[0].package)
    request = version_choice.Request(Version("2.1.0"), False, None)
    handler = version_choice.choose(request, offered("2.1.0", "2.1.6"), in_force)
    assert handler is not None
    assert handler.version == "2.1.0"


@pytest.mark.parametrize(("location", "chosen"), [("rack-7", "2.2.0"), ("rack-8", "2.1.0"), (None, "2.1.0")])
def test_a_version_of_other_locations_is_not_offered(location: str | None, chosen: str) -> None:
    images = [*offered("2.1.0"), *offered("2.2.0", locations=["rack-7"])]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, location), images, None)
    assert handler is not None
    assert handler.version == chosen


def test_the_lack_of_a_version_is_told_with_what_there_is() -> None:
    request = version_choice.Request(Version("9"), False, None)
    images = [*offered("2.1.0"), *offered("2.2.0", withdrawn=True), *offered("2.3.0", locations=["rack-7"])]
    told = version_choice.describe_lack("VMExt.CustomScript", request, images)
    assert told == (
        "the catalog has VMExt.CustomScript in 2.1.0, 2.2.0 (withdrawn), 2.3.0 (only in rack-7), "
        "but typeHandlerVersion is 9, and autoUpgradeMinorVersion is false"
    )
    assert "the catalog has no VMExt.Nope" in version_choice.describe_lack("VMExt.Nope", request, [])


@pytest.mark.parametrize("text", ["", "a", "1.", "1.2.3.4.5", "1..2", "-1", "1.2 "])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is no version"):
        Version(text)
