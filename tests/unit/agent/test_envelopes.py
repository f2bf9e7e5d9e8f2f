"""Protected settings that can be read here, and those that can't: told apart before any handler is run with them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from support.certificates import certificate, private_pem, rsa_key
from vmext_agent import goal_state, identity
from vmext_agent.envelopes import Envelopes, Unreadable
from vmext_agent.goal_state import Settings
from vmext_agent.layout import Layout
from vmext_operator.cluster import envelopes

MINE, OTHERS = certificate("uid-mine", rsa_key(1)), certificate("uid-other", rsa_key(2))
MY_NAME, ANOTHER = (identity.thumbprint(pem.encode(), "it") for pem in (MINE, OTHERS))
CANARY = "correct-horse-battery-staple"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    key, public = (Path(path) for path in identity.placed(layout, MY_NAME))
    key.parent.mkdir(parents=True)
    key.write_bytes(private_pem(rsa_key(1)))
    public.write_text(MINE)
    return layout


def sealed(content: bytes, pem: str = MINE, name: str = MY_NAME) -> Settings:
    return goal_state.settings_of("{}", envelopes.seal(content, pem), name)


@pytest.mark.parametrize(
    "settings",
    [
        goal_state.settings_of("{}"),
        sealed(b"{}"),
        sealed(b'{"password": "h\xc3\xa9"}\n' + b" " * 60_000),
        sealed(b'\xef\xbb\xbf{"a": 1}'),
    ],
)
def test_what_is_an_object_can_be_read(layout: Layout, settings: Settings) -> None:
    assert Envelopes(layout).refusal(settings) is None


@pytest.mark.parametrize(
    ("settings", "reason", "words"),
    [
        (sealed(b"{}", OTHERS, ANOTHER), "WrongCertificate", "this machine has no key of it"),
        # Another machine's ciphertext under this one's thumbprint.
        (sealed(b"{}", OTHERS), "ProtectedSettingsInvalid", "can't be opened with the key of"),
        (goal_state.settings_of("{}", "AAAA", MY_NAME), "ProtectedSettingsInvalid", "can't be opened"),
        (goal_state.settings_of("{}", "AAA", MY_NAME), "ProtectedSettingsInvalid", "can't be opened"),
        (sealed(CANARY.encode()), "ProtectedSettingsInvalid", "are no JSON object"),
        (sealed(f'["{CANARY}"]'.encode()), "ProtectedSettingsInvalid", "are no JSON object"),
        (sealed(f'{{"{CANARY}": '.encode()), "ProtectedSettingsInvalid", "are no JSON object"),
        (sealed(b"\xff\xfe\xfd"), "ProtectedSettingsInvalid", "are no JSON object"),
        (sealed(b"[" * 50_000), "ProtectedSettingsInvalid", "are no JSON object"),
        (sealed(b""), "ProtectedSettingsInvalid", "are no JSON object"),
    ],
)
def test_what_can_not_be_read_is_said_and_nothing_of_it_quoted(
    layout: Layout, settings: Settings, reason: str, words: str
) -> None:
    found = Envelopes(layout).refusal(settings)

    assert found is not None
    assert found.reason == reason
    assert words in found.words
    assert CANARY not in found.words


def test_what_was_cut_short_or_changed_under_way_is_no_envelope(layout: Layout) -> None:
    der = base64.b64decode(sealed(b'{"a": 1}').protected)
    for spoilt in (der[:-1], der[:-20], der[:10]):
        settings = goal_state.settings_of("{}", base64.b64encode(spoilt).decode(), MY_NAME)
        found = Envelopes(layout).refusal(settings)
        assert found is not None
        assert found.reason == "ProtectedSettingsInvalid"


def test_what_was_good_is_not_opened_again_and_what_was_not_is(layout: Layout) -> None:
    checks, settings = Envelopes(layout), sealed(b"{}")
    assert checks.refusal(settings) is None
    for path in identity.placed(layout, MY_NAME):
        Path(path).unlink()

    assert checks.refusal(settings) is None
    other = sealed(b'{"b": 1}')
    assert isinstance(checks.refusal(other), Unreadable)
    key, public = identity.placed(layout, MY_NAME)
    Path(key).write_bytes(private_pem(rsa_key(1)))
    Path(public).write_text(MINE)
    assert checks.refusal(other) is None
