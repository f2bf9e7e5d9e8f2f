"""Which packages a machine takes for their publisher's: by openssl, and by the same text as the operator."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from support.certificates import public_pem, publisher_key
from unit.agent import goals
from vmext_agent import signatures
from vmext_agent.goal_state import Entry
from vmext_agent.layout import Layout
from vmext_agent.policy import Key, Policy
from vmext_agent.signatures import Signatures
from vmext_operator.core import signature


def entry(
    by: int = 0, *, signed: bytes | None = None, raw: str | None = None, handler: str = "Test.One.Tracer"
) -> Entry:
    made = goals.entry(handler=handler)
    text = signatures.text(made) if signed is None else signed
    made_by = base64.b64encode(publisher_key(by).sign(text)).decode() if raw is None else raw
    return made._replace(package=made.package._replace(signature=made_by))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    Path(layout.own).mkdir(parents=True)
    return layout


def policy(folder: Path, *numbers: int, requires: bool = False, publisher: str = "test.one") -> Policy:
    found = []
    for number in numbers:
        path = folder / f"{number}.pem"
        path.write_text(public_pem(publisher_key(number)))
        found.append(Key(publisher, str(path), 1))
    return Policy(requires_signatures=requires, keys=tuple(found))


def test_both_sides_sign_the_same_text() -> None:
    one = goals.entry(handler="Test.One.Tracer", version="1.2.3")

    assert signatures.text(one) == signature.text("Test.One", "Tracer", "1.2.3", "a" * 64, 100)


@pytest.mark.parametrize("requires", [False, True])
def test_what_its_publisher_signed_runs(layout: Layout, tmp_path: Path, requires: bool) -> None:
    found = Signatures(layout)

    assert found.refusal(entry(1), policy(tmp_path, 1, requires=requires)) == ""
    assert found.refusal(entry(2), policy(tmp_path, 1, 2, requires=requires)) == ""
    assert list(Path(layout.own).iterdir()) == []


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (entry(2), "openssl pkeyutl failed"),
        (entry(1, signed=b"another text"), "openssl pkeyutl failed"),
        (entry(1, raw="AAAA"), "it is not 64 bytes in base64"),
        (entry(1, raw="\udcff"), "it is not 64 bytes in base64"),
        (entry(1, raw="=" * 88), "it is not 64 bytes in base64"),
        (entry(1)._replace(handler="Test.One.Other"), "openssl pkeyutl failed"),
    ],
)
def test_what_nobody_known_signed_does_not_even_where_none_is_required(
    layout: Layout, tmp_path: Path, one: Entry, why: str
) -> None:
    found = Signatures(layout).refusal(one, policy(tmp_path, 1))

    assert found.startswith(
        f"the signature of {one.handler} 1.0.0 is not good by the keys in /etc/vmext/keys/test.one/"
    )
    assert why in found


def test_one_is_required_where_the_policy_says_so_alone(layout: Layout, tmp_path: Path) -> None:
    checks, unsigned = Signatures(layout), goals.entry(handler="Test.One.Tracer")

    assert checks.refusal(unsigned, policy(tmp_path, 1)) == ""
    assert "the catalog has none of Test.One.Tracer" in checks.refusal(unsigned, policy(tmp_path, 1, requires=True))
    # Without a key of its publisher nobody can tell.
    other = policy(tmp_path, 1, publisher="test")
    assert checks.refusal(entry(1), other) == ""
    assert "there is no key of" in checks.refusal(entry(1), other._replace(requires_signatures=True))


def test_a_key_that_is_none_tells_nothing(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    keys = (Key("test.one", str(tmp_path / "bad.pem"), 1), *policy(tmp_path, 1).keys)

    assert Signatures(layout).refusal(entry(1), Policy(keys=keys[:1])) != ""
    assert Signatures(layout).refusal(entry(1), Policy(keys=keys)) == ""


def test_it_is_asked_once_and_again_when_a_key_has_changed(layout: Layout, tmp_path: Path) -> None:
    checks, rules = Signatures(layout), policy(tmp_path, 1)
    assert checks.refusal(entry(1), rules) == ""
    # Nobody looks: without the file it could not be checked.
    (tmp_path / "1.pem").write_text("no key")
    assert checks.refusal(entry(1), rules) == ""
    changed = rules._replace(keys=(rules.keys[0]._replace(stamp=2),))
    assert checks.refusal(entry(1), changed) != ""
