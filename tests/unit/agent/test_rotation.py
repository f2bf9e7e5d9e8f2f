"""A machine's keys, one after another: whatever is cut off, there is a whole one, and none goes that is still named."""

from __future__ import annotations

import base64
import os
import stat
import time
from pathlib import Path

import pytest

from vmext_agent import files, goal_state, identity, rotation
from vmext_agent.errors import IdentityError
from vmext_agent.identity import Identity
from vmext_agent.layout import Layout
from vmext_agent.records import Disk, Enabled, Folder, Record
from vmext_operator.core import certificate

UID = "11111111-2222-3333-4444-555555555555"
HANDLER = "Test.Tracer"
NOWHERE = Disk({}, {}, "boot")
LATER = time.time() + 2 * rotation.KEPT_AT_LEAST_S


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a key, and with the next one."""
    root = tmp_path_factory.mktemp("keys")
    layout = Layout(str(root))
    own = identity.make(layout, UID)
    identity.make_next(layout, UID, own)
    return root


@pytest.fixture
def layout(keys: Path, tmp_path: Path) -> Layout:
    """The same machine, for one test alone."""
    made = Layout(str(tmp_path))
    files.make_folder(made.identity, 0o700)
    files.make_folder(made.handlers, 0o700)
    for path in (keys / "var/lib/vmext/identity").iterdir():
        files.write(f"{made.identity}/{path.name}", path.read_bytes(), 0o600)
    return made


def both(layout: Layout) -> tuple[Identity, Identity]:
    own, following = identity.load(layout), identity.load_next(layout)
    assert own is not None
    assert following is not None
    return own, following


def rotate(layout: Layout) -> tuple[Identity, Identity]:
    own, following = both(layout)
    for one in (own, following):
        identity.place(layout, one)
    return identity.promote(layout, own, following)


def settings(
    layout: Layout, thumbprint: str, number: int = 1, folder: str = f"{HANDLER}-1.0.0", whose: str = ""
) -> str:
    document = f'{{"protectedSettingsCertThumbprint": "{thumbprint}"}}'
    path = f"{layout.handlers}/{folder}/config/{whose}{number}.settings"
    files.make_folder(os.path.dirname(path), 0o700)
    files.write(path, document.encode(), 0o600)
    return path


def enabled(number: int, name: str = "one", *, several: bool = False) -> Disk:
    """Return a machine on which an extension is enabled with that number."""
    key = goal_state.Key("uid", "enabled", number, "1.0.0")
    record = Record(name, HANDLER, key, "", "", enabled=Enabled("uid", "1.0.0", number, "boot", 0.0))
    return Disk({name: record}, {HANDLER: {"1.0.0": Folder("Enabled", multi_config=several)}}, "boot")


def test_the_next_certificate_is_signed_by_the_key_in_use(layout: Layout) -> None:
    own, following = both(layout)

    found = certificate.check(following.certificate, UID)
    assert certificate.is_vouched_for(found, following.signature, own.certificate)
    assert (own.signature, found.thumbprint) == ("", following.thumbprint)
    assert following.thumbprint != own.thumbprint
    for name in os.listdir(layout.identity):
        assert stat.S_IMODE(os.stat(f"{layout.identity}/{name}").st_mode) == 0o600
    assert sorted(os.listdir(layout.identity)) == ["machine.pem", "next.pem"]


def test_the_two_change_places_and_each_opens_what_is_its_own(layout: Layout) -> None:
    from vmext_operator.cluster import envelopes

    before = both(layout)
    now, earlier = rotate(layout)

    assert [now.thumbprint, earlier.thumbprint] == [before[1].thumbprint, before[0].thumbprint]
    assert identity.load(layout) == now
    assert identity.load_next(layout) is None
    assert identity.load_earlier(layout) == (earlier,)
    for one, other in ((now, earlier), (earlier, now)):
        sealed = envelopes.seal(b'{"a": 1}', one.certificate)
        assert identity.opened(one, sealed) == b'{"a": 1}'
        with pytest.raises(IdentityError, match="can't be opened"):
            identity.opened(other, sealed)
        key, public = identity.placed(layout, one.thumbprint)
        assert Path(public).read_text() == one.certificate
        assert Path(key).read_text().startswith("-----BEGIN PRIVATE KEY-----")
        assert stat.S_IMODE(os.stat(key).st_mode) == 0o600


def test_what_is_cut_off_while_they_change_places_is_done_again(layout: Layout) -> None:
    own, following = both(layout)
    # The copy of the one in use is there, and the rename was not.
    files.write(f"{layout.identity}/{own.thumbprint}.pem", files.read(own.file, 1 << 16), 0o600)

    assert both(layout) == (own, following)
    assert identity.load_earlier(layout) == ()
    assert list(rotation.outlived(layout, NOWHERE, LATER)) == []
    rotate(layout)
    assert [one.thumbprint for one in identity.load_earlier(layout)] == [own.thumbprint]


def test_what_is_cut_off_while_a_key_is_made_is_no_identity(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    files.make_folder(layout.identity, 0o700)
    for name in ("making.key", "making.conf", "machine.pem.new"):
        files.write(f"{layout.identity}/{name}", b"-----BEGIN", 0o600)

    assert identity.load(layout) is None
    assert identity.make(layout, UID) == identity.load(layout)
    assert sorted(os.listdir(layout.identity)) == ["machine.pem"]


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_identity_is_said_to_be_none(layout: Layout, content: bytes) -> None:
    files.write(f"{layout.identity}/machine.pem", content, 0o600)

    with pytest.raises(IdentityError, match=r"machine\.pem holds no key and certificate"):
        identity.load(layout)


def test_a_key_goes_when_nothing_names_it_any_more_and_not_at_once(layout: Layout) -> None:
    now, earlier = rotate(layout)

    assert list(rotation.outlived(layout, NOWHERE, time.time() + 60)) == []
    gone = list(rotation.outlived(layout, NOWHERE, LATER))
    assert gone == [*identity.placed(layout, earlier.thumbprint), earlier.file]
    for path in gone:
        files.remove(path)
    assert list(rotation.outlived(layout, NOWHERE, LATER)) == []
    assert rotation.describe(layout) == [f"certificate:  {now.thumbprint}"]


@pytest.mark.parametrize("where", ["in force", "set aside", "being removed", "kept", "goal", "unreadable"])
def test_a_key_stays_while_something_names_it(layout: Layout, where: str) -> None:
    _, earlier = rotate(layout)
    name = earlier.thumbprint
    if where == "in force":
        settings(layout, name)
    elif where == "set aside":
        settings(layout, name.lower(), folder=f".aside-{HANDLER}-0.9.0")
    elif where == "being removed":
        settings(layout, name, folder=f".removed-{HANDLER}-0.9.0", whose="one.")
    elif where == "kept":
        files.make_folder(layout.settings, 0o700)
        files.write(layout.kept_settings("one", 3), name.encode(), 0o600)
    elif where == "goal":
        files.write(layout.goal, f'{{"spec": {{"credential": {{"thumbprint": "{name}"}}}}}}'.encode(), 0o600)
    else:
        os.mkdir(f"{layout.handlers}/{HANDLER}-1.0.0")
        os.makedirs(f"{layout.handlers}/{HANDLER}-1.0.0/config/1.settings")

    assert list(rotation.outlived(layout, enabled(1), LATER)) == []
    assert any(name in line and "files that name it: 1" in line for line in rotation.describe(layout))


def test_settings_of_numbers_before_keep_no_key(layout: Layout) -> None:
    now, earlier = rotate(layout)
    old = [settings(layout, earlier.thumbprint, number) for number in (1, 2)]
    newest = settings(layout, now.thumbprint, 3)

    found = list(rotation.outlived(layout, enabled(3), LATER))

    assert sorted(found[:2]) == old
    assert found[2:] == [*identity.placed(layout, earlier.thumbprint), earlier.file]
    assert newest not in found


def test_settings_of_another_extension_of_the_same_handler_do(layout: Layout) -> None:
    now, earlier = rotate(layout)
    settings(layout, earlier.thumbprint, 1, whose="other.")
    settings(layout, now.thumbprint, 3, whose="one.")

    assert list(rotation.outlived(layout, enabled(3, several=True), LATER)) == []


def test_a_signature_is_base64_of_what_an_rsa_key_signs(layout: Layout) -> None:
    _, following = both(layout)

    assert len(base64.b64decode(following.signature, validate=True)) == 384
