"""Which catalog entries are signed as they have to be, and what becomes of extensions that need one that is not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from support import objects
from support.certificates import public_pem, publisher_key, rsa_key
from support.compiling import compiled
from vmext_operator.api import extension_image
from vmext_operator.api.meta import Key
from vmext_operator.control.store import Store
from vmext_operator.core import signature
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import ParseError

SHA = "a" * 64
KEYS = signature.parse_keys({"VMExt": [public_pem(publisher_key(1)), public_pem(publisher_key(2))]})
RAW = publisher_key(1).public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def signed(
    number: int = 1,
    *,
    version: str = "2.1.0",
    sha256: str = SHA,
    size: int = 1000,
    publisher: str = "VMExt",
    type_: str = "CustomScript",
) -> str:
    text = signature.text(publisher, type_, version, sha256, size)
    return base64.b64encode(publisher_key(number).sign(text)).decode()


def image(version: str = "2.1.0", *, by: str = "", publisher: str = "VMExt") -> dict[str, Any]:
    package: dict[str, Any] = {"urls": ["http://127.0.0.1/x.zip"], "sha256": SHA, "sizeBytes": 1000}
    return objects.image(version, publisher=publisher, package=package | ({"signature": by} if by else {}))


def test_what_is_signed_is_this_text() -> None:
    assert signature.text("VMExt", "CustomScript", "2.1.0", SHA, 1000).decode() == (
        f"vmext package v1\npublisher: VMExt\ntype: CustomScript\nversion: 2.1.0\nsha256: {SHA}\nsize: 1000\n"
    )


@pytest.mark.parametrize(
    ("by", "refused"),
    [
        (signed(1), ""),
        (signed(2), ""),
        ("", "is not signed"),
        (signed(3), "by none of the keys"),
        (signed(1, version="2.1.1"), "by none of the keys"),
        (signed(1, sha256="b" * 64), "by none of the keys"),
        (signed(1, size=1001), "by none of the keys"),
        (signed(1, type_="customscript"), "by none of the keys"),
        (signed(1, publisher="Other"), "by none of the keys"),
        (signed(1)[:-4] + "AAA=", "by none of the keys"),
        ("no base64", "by none of the keys"),
        ("AAAA", "by none of the keys"),
    ],
    ids=map(str, range(12)),
)
def test_a_signature_is_good_for_one_package_by_one_of_its_publishers_keys(by: str, refused: str) -> None:
    found = signature.refusal(extension_image.parse(image(by=by)), KEYS)

    assert bool(found) == bool(refused)
    assert refused in found
    assert not found or found.startswith(("VMExt.CustomScript 2.1.0", "the signature of VMExt.CustomScript 2.1.0"))


def test_who_has_no_keys_need_not_sign() -> None:
    assert signature.refusal(extension_image.parse(image(publisher="Other")), KEYS) == ""
    assert signature.refusal(extension_image.parse(image(by=signed(3))), {}) == ""
    # A publisher is the same in any case.
    assert signature.refusal(extension_image.parse(image(publisher="vmext")), KEYS) != ""


@pytest.mark.parametrize(
    "value",
    [
        public_pem(publisher_key(1)),
        public_pem(publisher_key(1)).replace("\n", "\r\n"),
        "".join(public_pem(publisher_key(1)).splitlines()[1:-1]),
        base64.b64encode(RAW).decode(),
    ],
    ids=["PEM", "PEM of Windows", "its body", "the key alone"],
)
def test_a_key_is_read_in_every_usual_form(value: str) -> None:
    keys = signature.parse_keys({"VMExt": [value]})

    assert signature.refusal(extension_image.parse(image(by=signed(1))), keys) == ""


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "publishers: is a list"),
        ({"A": "x"}, "A: is not a list of keys"),
        ({"A": []}, "A: is not a list of keys"),
        ({"A": ["x"]}, r"A\[0\]: is no public key"),
        ({"A": [None]}, r"A\[0\]: is no public key"),
        ({"A": [base64.b64encode(RAW).decode()], "a": [base64.b64encode(RAW).decode()]}, "a: is there twice"),
        (
            {
                "A": [
                    rsa_key()
                    .public_key()
                    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                    .decode()
                ]
            },
            "is no public key of Ed25519",
        ),
    ],
    ids=map(str, range(7)),
)
def test_keys_that_can_not_be_used_are_said_to_be_none(document: object, why: str) -> None:
    with pytest.raises(ParseError, match=why):
        signature.parse_keys(document)


def chosen(*images: dict[str, Any], **spec: Any) -> str:
    """Return the version that an extension gets, or why it gets none."""
    made = compiled(objects.extension(spec=spec), images=list(images), publisher_keys=KEYS)
    if made.goal.extensions:
        return made.goal.extensions[0].handler.version
    (held,) = made.held.values()
    assert held.patience_s is not None
    return f"{held.reason.value}: {held.message}"


def test_an_entry_without_a_good_signature_is_not_chosen_and_the_extension_says_so() -> None:
    bad = image("2.1.1", by=signed(3, version="2.1.1"))

    assert chosen(image(by=signed()), bad) == "2.1.0"
    assert chosen(bad).startswith("SignatureInvalid: the signature of VMExt.CustomScript 2.1.1 is by none of the keys")
    assert chosen(image()).startswith("SignatureInvalid: VMExt.CustomScript 2.1.0 is not signed")
    # One that is not asked for is not to blame.
    assert chosen(bad, typeHandlerVersion="3").startswith("UnknownImage: ")


def test_the_signature_goes_along_to_the_machine() -> None:
    entry = compiled(objects.extension(), images=[image(by=signed())], publisher_keys=KEYS).goal.extensions[0]

    assert entry.render()["handler"]["package"]["signature"] == signed()


def test_what_runs_stays_though_its_signature_is_spoilt() -> None:
    last = compiled(objects.extension(), images=[image(by=signed())], publisher_keys=KEYS).goal
    spoilt = image(by=signed(3))

    assert compiled(objects.extension(), images=[spoilt], last=last, publisher_keys=KEYS).goal == last


def test_an_entry_that_is_signed_later_is_looked_at_anew() -> None:
    changed: list[Key] = []
    store = Store(lambda key, _lane: changed.append(key), KEYS)
    store.observe("virtualmachineextensions", objects.extension())
    store.observe("virtualmachineextensionimages", image())
    assert store.catalog(["vmext.customscript"])["vmext.customscript"][0].refused
    changed.clear()

    later = image(by=signed())
    later["metadata"]["generation"] = 2
    store.observe("virtualmachineextensionimages", later)

    assert changed == [Key("default", "web-1")]
    assert store.catalog(["vmext.customscript"])["vmext.customscript"][0].refused == ""
    assert Reason.SIGNATURE_INVALID.value == "SignatureInvalid"
