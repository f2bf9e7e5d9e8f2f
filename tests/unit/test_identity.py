"""Which certificate is pinned, which token is minted when, and what a machine may do with it."""

from __future__ import annotations

import base64
import itertools
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support import objects
from support.certificates import certificate, private_pem, rsa_key, signature
from vmext_operator.api import virtual_machine
from vmext_operator.api.credential import LONG_AGO, NEVER, CertificateRequest, Held, NextToken, Pinned
from vmext_operator.cluster import envelopes
from vmext_operator.core import identity
from vmext_operator.core.identity import Settled

VM, ANCHOR = "uid-vm", "uid-anchor"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
MINE, OTHER = certificate(VM, rsa_key(1)), certificate(VM, rsa_key(2))


def settle(
    request: CertificateRequest | None = None,
    pinned: Pinned | None = None,
    anchor: str = ANCHOR,
    held: Held | None = None,
) -> Settled:
    return identity.settle(pinned, anchor, request, held, VM)


def proposes(pem: str = MINE, signed: str = "", anchor: str = ANCHOR) -> CertificateRequest:
    return CertificateRequest(anchor, pem, signed)


def token(*, bound: str = ANCHOR, issued: float = -1.0, lives: float = 10.0, id_: str = "jti") -> Held:
    """Return what a machine says of a token; times in days from now."""
    begin = NOW + timedelta(days=issued)
    return Held(id_, bound, begin, begin + timedelta(days=lives))


def upcoming(days: float, id_: str = "next", thumbprint: str = "") -> NextToken:
    expires = (NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return NextToken(id_, "sealed", thumbprint or _PINNED.thumbprint, expires)


def test_the_first_certificate_that_is_proposed_is_pinned() -> None:
    settled = settle(proposes())

    assert settled.refused == ""
    assert settled.pinned.certificate == MINE
    assert settle(proposes(), settled.pinned) == settled


_PINNED = settle(proposes()).pinned
ENDLESS = Held("ours", "", LONG_AGO, NEVER)


def test_another_one_needs_the_signature_of_the_one_that_is_pinned() -> None:
    good, bad = signature(OTHER, rsa_key(1)), signature(OTHER, rsa_key(2))

    assert settle(proposes(OTHER, good), _PINNED).pinned.certificate == OTHER
    for signed in ("", bad, "no base64", base64.b64encode(b"x").decode()):
        refused = settle(proposes(OTHER, signed), _PINNED)
        assert refused.pinned == _PINNED
        assert "has not signed" in refused.refused
        assert "--again" in refused.refused


def test_another_anchor_lets_go_of_what_was_pinned_and_of_what_was_proposed_before() -> None:
    assert settle(proposes(), _PINNED, "uid-new").pinned == Pinned("uid-new")
    assert settle(proposes(OTHER, anchor="uid-new"), _PINNED, "uid-new").pinned.certificate == OTHER
    assert settle(proposes(OTHER), Pinned("uid-new"), "uid-new").pinned == Pinned("uid-new")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        ("", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
        (MINE + OTHER, "holds 2 certificates"),
        (certificate("uid-other-vm", rsa_key(1)), "not for uid-vm"),
        (certificate(VM, rsa_key(1), signer=rsa_key(2)), "not signed by its own key"),
        (certificate(VM, ec.generate_private_key(ec.SECP256R1())), "not of RSA"),
        (certificate(VM, rsa_key(3, 1024)), "not of RSA with 2048"),
        (MINE + " " * 9000, "at most 8192"),
        (private_pem(rsa_key(1)).decode(), "no certificate"),
    ],
)
def test_what_can_not_be_encrypted_to_is_refused_in_words(pem: str, why: str) -> None:
    settled = settle(proposes(pem))

    assert why in settled.refused
    assert settled.pinned == Pinned(ANCHOR)


def test_what_the_machine_says_of_its_token_is_noted_only_for_its_anchor() -> None:
    assert settle(held=token()).pinned.expires_at == "2026-01-11T00:00:00Z"
    assert settle(held=token(bound="uid-enrolment")).pinned.expires_at == ""


def renew_in_days(held: Held | None, following: NextToken | None = None, pinned: Pinned = _PINNED) -> float | None:
    found = identity.renew_in_s(pinned, held, following, VM, NOW)
    return None if found is None else found / 86_400


def test_for_how_long_a_token_was_granted_is_noted_and_0_for_one_that_does_not_end() -> None:
    assert settle(held=token(lives=10)).pinned.lifetime_s == 10 * 86_400
    assert settle(held=token(bound="uid-enrolment")).pinned.lifetime_s is None
    before = settle(held=token(), pinned=_PINNED).pinned
    # Said before it was enrolled anew, it says nothing of what it has now.
    assert settle(proposes(anchor="uid-before"), held=ENDLESS, pinned=before).pinned == before
    found = settle(proposes(), held=ENDLESS, pinned=before).pinned
    assert (found.lifetime_s, found.expires_at) == (0, "")
    assert (found.certificate, found.anchor_uid) == (_PINNED.certificate, ANCHOR)


def test_who_has_a_token_that_does_not_end_is_given_one_that_does_where_that_is_wanted() -> None:
    assert renew_in_days(ENDLESS) == 0
    assert renew_in_days(ENDLESS, upcoming(30)) == pytest.approx(30 - 600 / 86_400)
    assert renew_in_days(ENDLESS, upcoming(-1)) == 0


@pytest.mark.parametrize(
    ("held", "following", "wanted"),
    [
        (None, None, False),
        (token(bound="uid-enrolment"), None, True),
        (token(), None, True),
        (token(), upcoming(30), True),
        (token(), NextToken("ours", "sealed", _PINNED.thumbprint, ""), True),
        (ENDLESS, NextToken("ours", "sealed", _PINNED.thumbprint, ""), False),
        (ENDLESS, NextToken("other", "sealed", _PINNED.thumbprint, ""), True),
        (ENDLESS, NextToken("ours", "sealed", "CD" * 20, ""), True),
        (ENDLESS, None, True),
    ],
)
def test_a_token_for_good_is_looked_for_until_the_machine_uses_it(
    held: Held | None, following: NextToken | None, wanted: bool
) -> None:
    assert identity.wants_long_lived(_PINNED, held, following) is wanted
    assert not identity.wants_long_lived(Pinned(ANCHOR), held, following)


def test_a_token_for_good_is_the_clusters_own_and_ends_with_its_secret() -> None:
    made = identity.long_lived_secret(virtual_machine.parse(objects.machine("web-1")))

    assert made["metadata"]["name"] == "vmext-vm-web-1-token"
    assert made["metadata"]["annotations"]["kubernetes.io/service-account.name"] == "vmext-vm-web-1"
    assert made["type"] == "kubernetes.io/service-account-token"
    assert "data" not in made


def test_a_token_is_renewed_once_half_of_its_life_is_over() -> None:
    share = identity.share(VM)

    assert renew_in_days(token(issued=-1, lives=10)) == pytest.approx(4 + share)
    assert renew_in_days(token(issued=-6, lives=10)) == 0
    assert 0 < share < 1


def test_the_token_that_a_machine_was_enrolled_with_is_replaced_at_once() -> None:
    assert renew_in_days(token(bound="uid-enrolment", issued=0, lives=1 / 24)) == 0


def test_what_was_given_is_waited_for_while_it_is_good() -> None:
    old = token(issued=-6, lives=10)

    assert renew_in_days(old, upcoming(30)) == pytest.approx(30 - 600 / 86_400)
    # What was given ends before what it has, or can't be opened any more: then it is given another.
    assert renew_in_days(old, upcoming(3)) == 0
    assert renew_in_days(old, upcoming(30, thumbprint="CD" * 20)) == 0
    # What it has is what it was given.
    assert renew_in_days(old, upcoming(4, id_="jti")) == 0


def test_nobody_is_given_a_token_that_could_not_read_it() -> None:
    assert renew_in_days(None) is None
    assert renew_in_days(token(issued=-6, lives=5)) is None
    assert renew_in_days(token(issued=-6), pinned=Pinned(ANCHOR)) is None


def test_a_fleet_that_was_enrolled_in_one_hour_is_not_renewed_in_one() -> None:
    shares = sorted(identity.share(f"uid-{number}") for number in range(1000))

    gaps = [after - before for before, after in itertools.pairwise(shares)]
    assert max(gaps) < 0.02
    assert shares[0] < 0.01
    assert shares[-1] > 0.99


def test_a_machine_may_read_its_own_goal_write_that_ones_status_and_renew_its_lease() -> None:
    made = identity.belongings(virtual_machine.parse(objects.machine("web-1")), "01234567-89ab-cdef-0123-456789abcdef")

    assert len(made) == len(identity.KINDS)
    assert {obj["metadata"]["name"] for obj in made} == {"vmext-vm-web-1"}
    role = next(obj for obj in made if obj["kind"] == "Role")
    assert [(rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in role["rules"]] == [
        (["goalstates"], ["web-1-0123456789ab"], ["get", "list", "watch"]),
        (["goalstates/status"], ["web-1-0123456789ab"], ["patch"]),
        (["leases"], ["vmext-vm-web-1"], ["get", "update"]),
    ]


def test_a_renewal_is_overdue_when_seven_tenths_of_a_tokens_life_are_over() -> None:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    held = Held("jti", "anchor", begun, begun + timedelta(days=10))
    assert identity.overdue(None, begun) == ""
    assert identity.overdue(held, begun + timedelta(days=6.9)) == ""
    late = identity.overdue(held, begun + timedelta(days=7.1))
    assert late.startswith("its token ends at 2026-01-11T00:00:00Z and is not renewed: the machine has not taken")
    failing = replace(held, renewal_error="/etc is read-only")
    assert "the machine says: /etc is read-only" in identity.overdue(failing, begun + timedelta(days=7.1))
    assert identity.overdue(held, begun + timedelta(days=11)) == "", "that it ended is said elsewhere"
    assert identity.overdue(replace(held, expires_at=NEVER), begun + timedelta(days=900)) == ""


@pytest.mark.parametrize("tool", ["cms", "smime"])
def test_an_envelope_is_opened_as_handlers_do(tmp_path: Path, tool: str) -> None:
    content = b'{"password": "h\xc3\xa9\\n"}\n' * 500
    (tmp_path / "crt").write_text(MINE)
    (tmp_path / "prv").write_bytes(private_pem(rsa_key(1)))
    command = ["openssl", tool, "-inform", "DER", "-decrypt", "-recip", f"{tmp_path}/crt", "-inkey", f"{tmp_path}/prv"]

    sealed = base64.b64decode(envelopes.seal(content, MINE))

    opened = subprocess.run(command, input=sealed, capture_output=True, check=True)
    assert opened.stdout == content
    assert sealed != base64.b64decode(envelopes.seal(content, MINE))
    (tmp_path / "prv").write_bytes(private_pem(rsa_key(2)))
    assert subprocess.run(command, input=sealed, capture_output=True, check=False).returncode != 0
