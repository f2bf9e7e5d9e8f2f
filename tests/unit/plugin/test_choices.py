"""What the plugin makes of what was typed: which extension, which version, which declaration, which package."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given as such
from hypothesis import settings
from hypothesis import strategies as st

from kubectl_vmext import (
    azure_view,
    catalog,
    chosen,
    declaration,
    enrolment,
    given,
    output,
    package_file,
    signing,
    transcript,
)
from kubectl_vmext.errors import NotFoundError, TakenError, UsageError
from support import objects
from support.certificates import private_pem, rsa_key
from vmext_operator.api import extension_image
from vmext_operator.core import signature

COMMANDS = {f"{name}Command": "bin/x" for name in ("install", "enable", "disable", "uninstall", "update")}


def manifest(**fields: Any) -> bytes:
    return json.dumps([{"version": 1.0, "handlerManifest": COMMANDS | fields}]).encode()


def packed(folder: Path, name: str, **files: bytes) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path.replace("__", "/"), content)
    (folder / name).write_bytes(buffer.getvalue())
    return folder / name


def test_an_extension_is_found_by_its_own_name_before_its_type() -> None:
    first = objects.extension("customscript", spec={"type": "Other"})
    second = objects.extension("web-1-customscript")
    for name, wanted in (
        ("customscript", first),
        ("CustomScript", second),
        ("VMExt.CustomScript", second),
        ("web-1-customscript", second),
    ):
        assert chosen.pick([first, second], name, "web-1") is wanted
    with pytest.raises(NotFoundError, match="web-1 has no extension x; it has customscript, web-1-customscript"):
        chosen.pick([first, second], "x", "web-1")
    with pytest.raises(UsageError, match="several of type CustomScript: a, b"):
        chosen.pick([objects.extension("a"), objects.extension("b")], "CustomScript", "web-1")


def test_the_newest_is_chosen_by_numbers_and_never_a_withdrawn_one() -> None:
    entries = [objects.image(version) for version in ("2.9.0", "2.10.0")] + [objects.image("3.0.0", withdrawn=True)]
    assert catalog.newest(entries, None, "customscript")["spec"]["version"] == "2.10.0"
    other = objects.image("1.0.0", publisher="Other")
    with pytest.raises(UsageError, match="published by Other, VMExt; say --publisher"):
        catalog.newest([*entries, other], None, "CustomScript")
    assert catalog.newest([*entries, other], "other", "CustomScript") is other
    with pytest.raises(NotFoundError, match=r"the catalog has no VMExt\.X"):
        catalog.newest(entries, "VMExt", "X")


def test_locations_narrow_down_as_machines_see_it() -> None:
    entries = [objects.image("1.0.0", locations=["rack-7"]), objects.image("2.0.0")]
    assert catalog.found(entries, catalog.Filter(location="rack-7")) == entries
    assert catalog.found(entries, catalog.Filter(location="elsewhere")) == entries[1:]


def test_what_is_not_said_stays_and_what_can_not_change_is_left_as_it_stands() -> None:
    before = objects.extension(spec={"settings": {"a": 1}, "timeout": "5m"})
    wish = declaration.Wish("web-1", "vmext", "customscript", "2.2", {"forceUpdateTag": "x"})
    made = declaration.declared("hello", "default", wish, before)
    assert made["spec"] == {
        "vmName": "web-1",
        "publisher": "VMExt",
        "type": "CustomScript",
        "typeHandlerVersion": "2.2",
        "settings": {"a": 1},
        "timeout": "5m",
        "forceUpdateTag": "x",
    }


def test_an_extension_without_a_name_is_the_one_that_is_there_already() -> None:
    theirs, own = objects.extension("hello"), objects.extension("web-1-customscript")
    for there, wanted in (
        ([], "web-1-customscript"),
        ([theirs], "hello"),
        ([theirs, own], "web-1-customscript"),
        ([objects.extension("x", spec={"type": "Other"})], "web-1-customscript"),
    ):
        assert declaration.name_for("web-1", "vmext", "customscript", there) == wanted
    assert declaration.name_for("web-1", "Other", "CustomScript", [theirs]) == "web-1-customscript"
    with pytest.raises(UsageError, match="has several of type CustomScript: a, b"):
        declaration.name_for("web-1", None, "CustomScript", [objects.extension("a"), objects.extension("b")])


def test_what_was_said_once_is_not_said_again_in_the_logs() -> None:
    ready = {"type": "Ready", "status": "False", "reason": "ExecutionFailed", "message": "boom\n"}
    status = {"code": "c", "level": "Error", "displayStatus": "d", "message": "boom\n"}
    said = transcript.of(
        objects.extension(status={"conditions": [ready, ready | {"type": "Stalled"}], "statuses": [status]})
    )
    assert said.count("boom") == 1
    said = transcript.of(objects.extension(status={"conditions": [ready, ready | {"type": "Stalled"}]}))
    assert said.count("boom") == 1


def test_an_extension_that_is_going_is_not_changed() -> None:
    going = objects.extension(deletionTimestamp="2026-01-01T00:00:00Z")
    wish = declaration.Wish("web-1", "VMExt", "CustomScript", "2.1")
    with pytest.raises(TakenError, match="is being deleted"):
        declaration.declared("hello", "default", wish, going)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "x" * 81])
def test_names_that_no_extension_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="can't be the name"):
        declaration.check_name(name)


def test_an_extension_that_nothing_was_said_of_reads_as_azures_while_it_is_made() -> None:
    view = azure_view.extension_view(objects.extension())
    assert view["statuses"] == [
        {
            "code": "ProvisioningState/creating",
            "displayStatus": "Creating",
            "level": "Info",
            "message": None,
            "time": None,
        }
    ]
    stalled = {"type": "Stalled", "status": "True", "reason": "UnknownImage", "message": "none"}
    ready = stalled | {"type": "Ready", "status": "False"}
    view = azure_view.extension_view(objects.extension(status={"conditions": [stalled, ready]}))
    assert view["statuses"][0]["code"] == "ProvisioningState/failed/0"
    assert view["statuses"][0]["message"] == "UnknownImage: none"


def test_a_machine_that_does_not_report_reads_as_azures_does() -> None:
    silent = objects.machine()
    view = azure_view.machine(silent, [])["instanceView"]
    assert view["vmAgent"]["vmAgentVersion"] == "Unknown"
    assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Not Ready"
    gone = {"type": "AgentReachable", "status": "False", "reason": "GuestUnreachable", "message": "m"}
    up = {"type": "Ready", "status": "True", "reason": "AgentReporting", "message": "m"}
    view = azure_view.machine(silent | {"status": {"conditions": [up, gone]}}, [])["instanceView"]
    assert view["vmAgent"]["statuses"][0]["message"] == "GuestUnreachable: m"


@pytest.mark.parametrize(
    ("status", "is_expired"),
    [
        ({}, False),
        ({"credential": {"expiresAt": "2026-06-01T00:00:00Z"}}, True),
        ({"credential": {"expiresAt": "2026-08-01T00:00:00Z"}}, False),
        ({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "CredentialExpired"}]}, True),
        ({"conditions": [{"type": "AgentReachable", "status": "False", "reason": "CredentialExpired"}]}, True),
        ({"conditions": [{"type": "Ready", "status": "True", "reason": "AgentReporting"}]}, False),
    ],
)
def test_machines_whose_token_ended_are_told_by_condition_or_by_time(status: dict[str, Any], is_expired: bool) -> None:
    assert enrolment.is_expired({"status": status}, datetime(2026, 7, 1, tzinfo=UTC)) is is_expired


def test_a_package_says_what_it_is(tmp_path: Path) -> None:
    path = packed(
        tmp_path, "A.B.Script__1.2.3.zip", **{"HandlerManifest.json": manifest(supportsMultipleExtensions="True")}
    )
    read = package_file.read(path)
    assert (read.size_bytes, read.multi_config) == (path.stat().st_size, True)
    entry = package_file.entry(read, ("http://x/y",), {"version": "1.2.4", "description": None})
    assert entry["metadata"]["name"] == "a.b.script-1.2.4"
    assert entry["spec"]["publisher"] == "A.B"
    assert entry["spec"]["multiConfig"] is True
    assert "description" not in entry["spec"]
    with pytest.raises(UsageError, match="give --publisher --type --version"):
        package_file.entry(package_file.read(packed(tmp_path, "x.zip", **{"HandlerManifest.json": manifest()})), (), {})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no HandlerManifest.json"),
        ({"HandlerManifest.json": b"{"}, "does not name the five commands"),
        ({"HandlerManifest.json": b"[]"}, "does not name the five commands"),
        ({"HandlerManifest.json": b"\xff"}, "does not name the five commands"),
        ({"HandlerManifest.json": b"[" * 100_000}, "does not name the five commands"),
        ({"HandlerManifest.json": manifest(enableCommand="  ")}, "enableCommand is no command"),
        ({"HandlerManifest.json": manifest(enableCommand=7)}, "enableCommand is no command"),
        ({"HandlerManifest.json": b" " * (1 << 21)}, "is larger than"),
    ],
)
def test_packages_that_are_none_are_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        package_file.read(packed(tmp_path, "x.zip", **files))


@settings(max_examples=150, deadline=None)
@such(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_rubbish_is_no_package(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, at: int, byte: int) -> None:
    folder = tmp_path_factory.mktemp("rubbish")
    content = bytearray(packed(folder, "x.zip", **{"HandlerManifest.json": manifest()}).read_bytes())
    content[at % len(content)] = byte
    for made in (rubbish, bytes(content), bytes(content[:at])):
        (folder / "y.zip").write_bytes(made)
        try:
            assert package_file.read(folder / "y.zip").size_bytes == len(made)
        except UsageError as error:
            # Any other error is a finding.
            assert "\n" not in str(error)  # noqa: PT017 -- both ends are good


def test_what_is_secret_is_not_repeated_where_it_can_not_be_read() -> None:
    for text in ('{"password": "canary"', '["canary"]', "canary", '"canary"'):
        with pytest.raises(UsageError) as refused:
            given.settings(text, "--protected-settings")
        assert "canary" not in str(refused.value)


def test_what_is_signed_is_what_operators_take() -> None:
    key = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    entry = signing.signed(objects.image("1.0.0"), key.private_bytes(*form).decode(), "k.pem")
    image = extension_image.parse(entry)
    assert signature.refusal(image, {"vmext": [key.public_key()]}) == ""
    assert "by none of the keys" in signature.refusal(image, {"vmext": [Ed25519PrivateKey.generate().public_key()]})
    for text, words in (("canary", "no private key"), (private_pem(rsa_key()).decode(), "no Ed25519 key")):
        with pytest.raises(UsageError, match=words) as refused:
            signing.signed(objects.image("1.0.0"), text, "k.pem")
        assert "canary" not in str(refused.value)


def test_control_characters_are_spelled_out() -> None:
    assert output.printable("a\x1b[31m\x9b\x07\tb\n") == "a\\x1b[31m\\x9b\\x07\tb\n"
