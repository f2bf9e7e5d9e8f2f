"""CustomScript's settings: what is accepted, what is refused and how, and that nothing protected gets out."""

from __future__ import annotations

import base64
import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from guests.custom_script_machine import Certificate, Machine
from support.waiting import eventually

CANARY = "canary-6c1f0e"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def deliver(
    machine: Machine, certificate: Certificate, public: object, protected: object, command: str = "cms"
) -> None:
    machine.take(certificate)
    encrypted = certificate.encrypt(json.dumps(protected).encode(), command)
    machine.write_settings(1, public, encrypted, certificate.thumbprint)


@pytest.mark.parametrize("command", ["cms", "smime"])
def test_protected_settings_are_decrypted(machine: Machine, certificate: Certificate, command: str) -> None:
    deliver(machine, certificate, {"timestamp": 1}, {"commandToExecute": "echo grün"}, command)
    outcome = machine.enable(1)
    assert (outcome.code, outcome.message) == (0, "Enable succeeded: \n[stdout]\ngrün\n\n[stderr]\n")


def test_an_openssl_without_cms_will_do(machine: Machine, certificate: Certificate, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    openssl = programs / "openssl"
    openssl.write_text(f'#!/bin/sh\nPATH={machine.path}\n[ "$1" = cms ] && exit 1\nexec openssl "$@"\n')
    openssl.chmod(0o755)
    machine.path = f"{programs}:{machine.path}"
    deliver(machine, certificate, {}, {"commandToExecute": "echo hello"})
    assert machine.enable(1).state == "success"


@pytest.mark.parametrize(
    "command",
    [
        "false\ntrue\n",
        "cat; echo after",
        "echo $0 $#",
        "cat <<E\nhere\nE\n",
        "if true; then",
        "echo a # comment",
        "echo line $LINENO\n\necho line $LINENO",
        "echo 'a''b' \"$HOME\" `echo c` \\\\ \\\n d",
        "ls /proc/self/fd | wc -l",
        "exit 4",
        "true " + "x" * 200_000,  # above the kernel's limit for one argument
    ],
)
def test_a_protected_command_behaves_as_a_public_one(
    machine: Machine, certificate: Certificate, tmp_path: Path, command: str
) -> None:
    deliver(machine, certificate, {}, {"commandToExecute": command})
    protected = machine.enable(1)
    machine.write_settings(2, {"commandToExecute": command})
    public = machine.enable(2)
    assert (protected.code, protected.state) == (public.code, public.state)
    # The two words that shells put into their messages: dash the one, bash the other.
    assert protected.message.replace("eval: ", "") == public.message.replace("-c: ", "")


def test_nothing_protected_is_seen_by_other_users_or_written_down(machine: Machine, certificate: Certificate) -> None:
    deliver(machine, certificate, {}, {"commandToExecute": f"token={CANARY}; echo begun; sleep 600"})
    with machine.enabling(1, prefix="exec ") as process:
        saved = machine.download_folder(1) / "stdout"
        eventually(lambda: saved.exists() and "begun" in saved.read_text(), "the script to begin")
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            assert CANARY.encode() not in read_if_there(path)
        for pid in group_of(process.pid):
            assert CANARY.encode() not in read_if_there(Path(f"/proc/{pid}/environ"))
        process.terminate()
        assert process.wait(20) == 143
    root = machine.lib.parent
    written = [path for path in root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert written == []


def test_neither_command_nor_address_nor_script_is_in_the_log(machine: Machine) -> None:
    machine.enable(1, {"commandToExecute": f"echo {CANARY} >&2; exit 1"})
    machine.enable(2, {"commandToExecute": CANARY, "script": CANARY})
    machine.enable(3, {"commandToExecute": "true", "fileUris": [f"http://127.0.0.1:1/{CANARY}%zz?sig={CANARY}\n"]})
    machine.enable(4, {"script": f"!{CANARY}"})
    machine.enable(5, {"commandToExecute": {"x": CANARY}})
    assert machine.log.count("enable-failed") == 5
    assert CANARY not in machine.log
    assert CANARY not in machine.said()
    for number in (2, 3, 4, 5):
        assert CANARY not in json.dumps(machine.status(number))


BAD_SETTINGS = [
    ({}, {}, "neither 'commandToExecute' nor 'script' is specified"),
    ({"commandToExecute": ""}, {}, "neither 'commandToExecute' nor 'script' is specified"),
    ({"commandToExecute": "a", "script": "YQ=="}, {}, "'commandToExecute' and 'script' were both specified"),
    ({"commandToExecute": "a"}, {"script": "YQ=="}, "'commandToExecute' and 'script' were both specified"),
    ({"commandToExecute": "a"}, {"commandToExecute": "a"}, "'commandToExecute' was specified both in public and"),
    ({"script": "YQ=="}, {"script": "YQ=="}, "'script' was specified both in public and protected"),
    (
        {"commandToExecute": "a", "fileUris": ["http://h/a"]},
        {"fileUris": ["http://h/a"]},
        "'fileUris' was specified both in public and protected",
    ),
    ({"skipDos2Unix": True}, {"commandToExecute": "a", "skipDos2Unix": True}, "'skipDos2Unix' was specified both"),
    ({"timestamp": 1}, {"commandToExecute": "a", "timestamp": 1}, "'timestamp' was specified both"),
    ({"commandToExecute": "a", "cmd": 1}, {}, "invalid public settings JSON: (root): Additional property cmd is not"),
    ({}, {"commandToexecute": "a"}, "invalid protected settings JSON: (root): Additional property commandToexecute"),
    ({"commandToExecute": 1}, {}, "commandToExecute: Invalid type. Expected: string, given: integer"),
    ({"script": ["a"]}, {}, "script: Invalid type. Expected: string, given: array"),
    ({"commandToExecute": "a", "timestamp": "1"}, {}, "timestamp: Invalid type. Expected: integer, given: string"),
    ({"commandToExecute": "a", "timestamp": True}, {}, "timestamp: Invalid type. Expected: integer, given: boolean"),
    ({"commandToExecute": "a", "timestamp": 1.5}, {}, "timestamp: Invalid type. Expected: integer, given: number"),
    ({"commandToExecute": "a", "skipDos2Unix": 1}, {}, "skipDos2Unix: Invalid type. Expected: boolean, given: integer"),
    ({"commandToExecute": "a", "fileUris": "http://h/a"}, {}, "fileUris: Invalid type. Expected: array, given: string"),
    ({"commandToExecute": "a", "fileUris": [1]}, {}, "fileUris[0]: Invalid type. Expected: string, given: integer"),
    ({"commandToExecute": "a", "fileUris": [None]}, {}, "fileUris[0]: Invalid type. Expected: string, given: null"),
    ({"commandToExecute": "a", "fileUris": ["http://h/a", "x"]}, {}, "fileUris[1]: must be an address"),
    ({"commandToExecute": "a", "fileUris": ["file:///etc/passwd"]}, {}, "fileUris[0]: must be an address"),
    ({"commandToExecute": "a", "fileUris": ["http://h:x/a"]}, {}, "fileUris[0]: is no address"),
    ({"commandToExecute": "a", "fileUris": ["http://u:p@h/a"]}, {}, "fileUris[0]: holds a user name"),
    ({"commandToExecute": "a", "fileUris": ["http://h/a b"]}, {}, "fileUris[0]: holds a character"),
    ({"commandToExecute": "a", "fileUris": ["http://h/grün"]}, {}, "fileUris[0]: holds a character"),
    ({"commandToExecute": "a", "fileUris": ["http://h/a/"]}, {}, "fileUris[0]: cannot extract file name"),
    ({"commandToExecute": "a", "fileUris": ["http://h"]}, {}, "fileUris[0]: cannot extract file name"),
    ({"commandToExecute": "a", "fileUris": ["http://h/.."]}, {}, "fileUris[0]: cannot extract file name"),
    ({"commandToExecute": "a", "fileUris": ["http://h/x%2F%2e%2e"]}, {}, "fileUris[0]: cannot extract file name"),
    ({"commandToExecute": "a", "fileUris": ["http://h/" + "a" * 201]}, {}, "fileUris[0]: cannot extract file name"),
    ({"commandToExecute": "a", "fileUris": ["http://h/stdout"]}, {}, "fileUris[0]: a file can't be named 'stdout'"),
    ({"commandToExecute": "a", "fileUris": ["http://h/%73tderr"]}, {}, "fileUris[0]: a file can't be named 'stderr'"),
    ({"commandToExecute": "a", "fileUris": ["http://h/.1.partial"]}, {}, "fileUris[0]: a file can't be named like"),
    ({"commandToExecute": "a", "fileUris": ["http://h/.1.partial.unix"]}, {}, "[0]: a file can't be named like"),
    (
        {"script": "YQ==", "fileUris": ["http://h/a", "http://h/script.sh"]},
        {},
        "[1]: a file can't be named 'script.sh'",
    ),
    ({"script": "YQ==", "fileUris": ["http://h/%73cript.sh"]}, {}, "fileUris[0]: a file can't be named 'script.sh'"),
    ({"commandToExecute": "a\0b"}, {}, "'commandToExecute' holds a NUL"),
    ({"commandToExecute": "a\ud800"}, {}, "commandToExecute: holds half of a surrogate pair"),
    ({"script": "%%%"}, {}, "script: is not base64"),
    ({"script": "YQ==" * 70_000}, {}, "script: its length of 280000 is above the limit of 262144"),
    ({"script": encoded(gzip.compress(b"x" * (17 << 20)))}, {}, "script: unpacks to more than 16777216 bytes"),
    ({"script": encoded(gzip.compress(os.urandom(999))[:-20])}, {}, "script: is gzip that was cut short"),
    ({"script": encoded(b"\x1f\x8bnot gzip after all")}, {}, "script: begins as gzip does"),
    ({"commandToExecute": "a"}, {"storageAccountName": "x"}, "storageAccountName: is not supported outside Azure"),
    ({"commandToExecute": "a"}, {"storageAccountKey": "x"}, "storageAccountKey: is not supported outside Azure"),
    ({"commandToExecute": "a"}, {"managedIdentity": {}}, "managedIdentity: is not supported outside Azure"),
]


@pytest.mark.parametrize(("public", "protected", "words"), BAD_SETTINGS)
def test_bad_settings_are_refused_with_53_and_the_field(
    machine: Machine, certificate: Certificate, public: object, protected: object, words: str
) -> None:
    if protected:
        deliver(machine, certificate, public, protected)
    else:
        machine.write_settings(1, public)
    outcome = machine.enable(1)
    assert (outcome.code, outcome.state) == (53, "error")
    assert outcome.message.startswith("Enable failed: failed to get configuration: ")
    assert words in outcome.message
    assert not (machine.lib / "custom-script").exists(), "nothing was begun"


SAME_NAMES = [
    (["http://h/a/run.sh", "http://h/b", "http://g/c/run.sh"], "fileUris[0] (http://h/a/run.sh)", "[2] (http://g"),
    (["http://h/a%20b", "http://h/x%2Fa%20%62"], "fileUris[0] (http://h/a%20b)", "fileUris[1] (http://h/x%2Fa%20%62)"),
    ([f"http://h/f/a.sh/raw?t={CANARY}", f"http://h/f/b.sh/raw?t={CANARY}#x"], "(http://h/f/a.sh/raw)", "f/b.sh/raw)"),
    (
        [f"http://h/a?versionId={CANARY}", f"http://h/a?versionId=2{CANARY}"],
        "fileUris[0] (http://h/a)",
        "[1] (http://h/a)",
    ),
    ([f"http://h/{'x' * 300}/a", f"http://h/{'y' * 300}/a"], "fileUris[0] (http://h/xxx", "yyy/a)"),
]


@pytest.mark.parametrize(("addresses", "first", "second"), SAME_NAMES)
def test_two_files_of_one_name_are_refused_and_both_named_without_their_queries(
    machine: Machine, addresses: list[str], first: str, second: str
) -> None:
    outcome = machine.enable(1, {"commandToExecute": "true", "fileUris": addresses})
    assert (outcome.code, outcome.state) == (53, "error")
    assert "would be saved under the same name" in outcome.message
    assert first in outcome.message
    assert second in outcome.message
    assert len(outcome.message) < 800
    assert CANARY not in outcome.message + machine.log
    assert not (machine.lib / "custom-script").exists(), "nothing was downloaded"


def test_two_protected_files_of_one_name_are_named_by_their_places_alone(
    machine: Machine, certificate: Certificate
) -> None:
    addresses = [f"http://127.0.0.1:1/{CANARY}/a", "http://127.0.0.1:1/b", f"http://127.0.0.1:1/{CANARY}/x/a"]
    deliver(machine, certificate, {}, {"commandToExecute": "true", "fileUris": addresses})
    outcome = machine.enable(1)
    assert outcome.code == 53
    assert "configuration: fileUris[0] and fileUris[2] would be saved under the same name" in outcome.message
    assert CANARY not in outcome.message + machine.log


def test_settings_that_were_refused_are_looked_at_again_by_the_next_enable(
    machine: Machine, certificate: Certificate
) -> None:
    encrypted = certificate.encrypt(b'{"commandToExecute": "echo hello"}')
    machine.write_settings(1, {}, encrypted, certificate.thumbprint)
    first = machine.enable(1)
    assert (first.code, first.state) == (53, "error")
    assert f"{certificate.thumbprint}.crt" in first.message
    machine.take(certificate)
    assert machine.enable(1).state == "success"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "neither 'commandToExecute' nor 'script'"),
        ("{", "is not JSON of the form"),
        ("[" * 100_000, "is not JSON of the form"),
        ('{"runtimeSettings": []}', "is not JSON of the form"),
        ('{"runtimeSettings": [{"handlerSettings": []}]}', "handlerSettings is not an object"),
        ('{"runtimeSettings": [{"handlerSettings": {"publicSettings": []}}]}', "publicSettings is not an object"),
        (
            '{"runtimeSettings": [{"handlerSettings": {"protectedSettings": "YQ=="}}]}',
            "protectedSettingsCertThumbprint",
        ),
        (b"\xff\xfe", "is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_settings_file_that_no_agent_writes_is_a_clear_error(
    machine: Machine, content: str | bytes | None, words: str
) -> None:
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (machine.install / "config" / "1.settings").write_bytes(data)
    outcome = machine.enable(1)
    assert (outcome.code, outcome.state) == (53, "error")
    assert words in outcome.message


@pytest.mark.parametrize(
    ("plain", "words"),
    [(b"[1]", "decrypted, are not a JSON object"), (b"\xff{", "decrypted, are not a JSON object")],
)
def test_protected_settings_that_hold_no_object_are_refused(
    machine: Machine, certificate: Certificate, plain: bytes, words: str
) -> None:
    machine.take(certificate)
    machine.write_settings(1, {}, certificate.encrypt(plain), certificate.thumbprint)
    assert words in machine.enable(1).message


def test_protected_settings_for_another_machine_are_refused(
    machine: Machine, certificate: Certificate, tmp_path: Path
) -> None:
    other = Certificate.make(tmp_path)
    machine.take(certificate)
    machine.write_settings(1, {}, other.encrypt(b"{}"), certificate.thumbprint)
    outcome = machine.enable(1)
    assert (outcome.code, outcome.state) == (53, "error")
    assert "can't be decrypted" in outcome.message


def test_protected_settings_on_a_machine_without_openssl_end_with_52(
    machine: Machine, certificate: Certificate, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    for name in ("dirname", "cat", "head"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    machine.path = str(programs)
    deliver(machine, certificate, {}, {"commandToExecute": "true"})
    outcome = machine.enable(1)
    assert (outcome.code, outcome.state) == (52, "error")
    assert "openssl is not on PATH" in outcome.message
    machine.write_settings(1, {"commandToExecute": "true"})
    assert machine.enable(1).state == "success", "public settings need none"


def read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def group_of(leader: int) -> list[int]:
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if leader == group_id(pid)]


def group_id(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
