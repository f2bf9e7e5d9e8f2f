from __future__ import annotations

from typing import Any

import pytest

from support import objects
from vmext_operator.api import extension_image
from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version
from vmext_operator.core import version_choice
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import ParseError

NAME = "VMExt.CustomScript"
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
    handler = version_choice.choose(request, NAME, offered(*CATALOG), None)
    assert (handler.version if isinstance(handler, Handler) else None) == chosen


def test_a_withdrawn_version_is_not_chosen() -> None:
    images = [*offered("2.1.0"), *offered("2.1.6", withdrawn=True)]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, None), NAME, images, None)
    assert isinstance(handler, Handler)
    assert handler.version == "2.1.0"


@pytest.mark.parametrize("still_listed", [True, False])
def test_a_withdrawn_or_unlisted_version_stays_where_it_runs(still_listed: bool) -> None:
    withdrawn = offered("2.1.6", withdrawn=True)
    in_force = Handler("VMExt.CustomScript", "2.1.6", withdrawn[0].package)
    images = [*offered("2.1.0"), *(withdrawn if still_listed else [])]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, None), NAME, images, in_force)
    assert handler == in_force


def test_a_version_in_force_that_is_no_longer_asked_for_is_left() -> None:
    in_force = Handler("VMExt.CustomScript", "2.1.6", offered("2.1.6")[0].package)
    request = version_choice.Request(Version("2.1.0"), False, None)
    handler = version_choice.choose(request, NAME, offered("2.1.0", "2.1.6"), in_force)
    assert isinstance(handler, Handler)
    assert handler.version == "2.1.0"


@pytest.mark.parametrize(("location", "chosen"), [("rack-7", "2.2.0"), ("rack-8", "2.1.0"), (None, "2.1.0")])
def test_a_version_of_other_locations_is_not_offered(location: str | None, chosen: str) -> None:
    images = [*offered("2.1.0"), *offered("2.2.0", locations=["rack-7"])]
    handler = version_choice.choose(version_choice.Request(Version("2"), True, location), NAME, images, None)
    assert isinstance(handler, Handler)
    assert handler.version == chosen


DEBIAN, UBUNTU = {"os": "debian", "version": "12", "arch": "x86_64"}, {"os": "ubuntu", "version": "22.04.3"}


@pytest.mark.parametrize(
    ("os", "architectures", "guest", "expected"),
    [
        ([], [], DEBIAN, True),
        ([], [], None, True),
        (["debian"], [], DEBIAN, True),
        (["debian"], [], None, False),
        (["debian:12"], [], DEBIAN, True),
        (["debian:1"], [], DEBIAN, False),
        (["rhel", "debian:11"], [], DEBIAN, False),
        (["ubuntu:22.04"], [], UBUNTU, True),
        (["ubuntu:22"], [], UBUNTU, True),
        (["ubuntu:22.0"], [], UBUNTU, False),
        ([], ["amd64"], DEBIAN, True),
        ([], ["x86_64"], DEBIAN, True),
        ([], ["arm64", "aarch64"], DEBIAN, False),
        (["debian"], ["arm64"], DEBIAN, False),
        ([], ["arm64"], {"arch": "aarch64"}, True),
        ([], ["amd64"], UBUNTU, False),
    ],
)
def test_a_version_is_for_machines_of_its_kind(
    os: list[str], architectures: list[str], guest: dict[str, str] | None, expected: bool
) -> None:
    (image,) = offered("2.1.0", supports={"os": os, "architectures": architectures})
    assert version_choice.supports(image.supports, guest) is expected


def test_the_highest_version_that_is_for_this_machine_is_chosen_and_its_lack_is_told() -> None:
    images = [*offered("2.0.0", supports={"os": ["debian"]}), *offered("2.1.0", supports={"os": ["rhel:9"]})]
    found = version_choice.choose(version_choice.Request(Version("2"), True, None, DEBIAN), NAME, images, None)
    assert isinstance(found, Handler)
    assert found.version == "2.0.0"
    lack = version_choice.choose(version_choice.Request(Version("2"), True, None, UBUNTU), NAME, images, None)
    assert lack == version_choice.Lack(
        Reason.UNSUPPORTED_OS,
        "VMExt.CustomScript 2.0.0 is for debian; 2.1.0 is for rhel:9; the machine is ubuntu 22.04.3",
    )
    unknown = version_choice.choose(version_choice.Request(Version("2"), True, None), NAME, images, None)
    assert isinstance(unknown, version_choice.Lack)
    assert unknown.reason is Reason.AGENT_NEVER_REPORTED


def test_what_runs_stays_also_where_the_machine_has_become_another() -> None:
    images = offered("2.1.0", supports={"os": ["debian"]})
    in_force = Handler(NAME, "2.1.0", images[0].package)
    request = version_choice.Request(Version("2"), True, None, UBUNTU)
    assert version_choice.choose(request, NAME, images, in_force) == in_force


@pytest.mark.parametrize(
    ("asked", "minor_upgrades", "chosen"),
    [
        ("2.1.6", False, "2.1.9"),
        ("2.1.9", False, "2.1.9"),
        ("2.1.10", False, None),
        ("2.1", False, "2.1.9"),
        ("2.0.0", False, "2.0.0"),
        ("2.2.0", False, None),
        ("2.1.6", True, "2.1.9"),
    ],
)
def test_a_hotfix_can_not_be_declined(asked: str, minor_upgrades: bool, chosen: str | None) -> None:
    images = [*offered("2.0.0", "2.1.6", "2.1.8"), *offered("2.1.9", hotfix=True)]
    request = version_choice.Request(Version(asked), minor_upgrades, None)
    found = version_choice.choose(request, NAME, images, None)
    assert (found.version if isinstance(found, Handler) else None) == chosen
    if isinstance(found, Handler):
        assert version_choice.stays(request, found, images) == found


def test_a_hotfix_that_was_withdrawn_stays_where_it_runs_and_is_not_chosen_elsewhere() -> None:
    images = [*offered("2.1.6"), *offered("2.1.9", hotfix=True, withdrawn=True)]
    request = version_choice.Request(Version("2.1.6"), False, None)
    in_force = Handler(NAME, "2.1.9", images[1].package)
    assert version_choice.choose(request, NAME, images, in_force) == in_force
    elsewhere = version_choice.choose(request, NAME, images, None)
    assert isinstance(elsewhere, Handler)
    assert elsewhere.version == "2.1.6"


def test_the_lack_of_a_version_is_told_with_what_there_is() -> None:
    request = version_choice.Request(Version("9"), False, None)
    images = [*offered("2.1.0"), *offered("2.2.0", withdrawn=True), *offered("2.3.0", locations=["rack-7"])]
    lack = version_choice.choose(request, NAME, images, None)
    assert lack == version_choice.Lack(
        Reason.UNKNOWN_IMAGE,
        "the catalog has VMExt.CustomScript in 2.1.0, 2.2.0 (withdrawn), 2.3.0 (only in rack-7), "
        "but typeHandlerVersion is 9, and autoUpgradeMinorVersion is false",
    )
    nothing = version_choice.choose(request, "VMExt.Nope", [], None)
    assert isinstance(nothing, version_choice.Lack)
    assert "the catalog has no VMExt.Nope" in nothing.message


@pytest.mark.parametrize("text", ["", "a", "1.", "1.2.3.4.5", "1..2", "-1", "1.2 "])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is no version"):
        Version(text)
