"""What a token says of itself, whichever way it was made."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from vmext_agent import credential
from vmext_agent.credential import Claims

BOUND = {
    "jti": "an-id",
    "iat": 1000,
    "exp": 4600,
    "kubernetes.io": {"namespace": "default", "secret": {"name": "vmext-vm-web-1", "uid": "uid-anchor"}},
}
OF_A_SECRET = {
    "kubernetes.io/serviceaccount/namespace": "default",
    "kubernetes.io/serviceaccount/secret.name": "vmext-vm-web-1-token",
    "kubernetes.io/serviceaccount/service-account.uid": "uid-account",
}


def token(payload: object) -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"head.{encoded}.signature"


def test_a_token_that_was_asked_for_says_who_it_is_and_when_it_ends() -> None:
    assert credential.claims(token(BOUND)) == Claims("an-id", "uid-anchor", 1000.0, 4600.0)


def test_a_token_out_of_a_secret_has_no_end_and_is_called_by_its_hash() -> None:
    text = token(OF_A_SECRET)

    assert credential.claims(text) == Claims(hashlib.sha256(text.encode()).hexdigest()[:32], "", 0.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.!.c",
        token([]),
        token({}),
        token({**BOUND, "jti": None, "exp": "soon"}),
        token({key: value for key, value in BOUND.items() if key != "exp"}),
        token({**BOUND, "kubernetes.io": []}),
        token({**BOUND, "iat": float("nan")}),
        # It says when it ends, and not who it is.
        token({**OF_A_SECRET, "exp": 5}),
    ],
)
def test_what_is_no_token_is_said_to_be_none_and_never_quoted(text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 -- whichever it is
        credential.claims(text)
    assert not text or text not in str(refused.value)
