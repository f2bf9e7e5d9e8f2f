"""A machine that changes its key: nothing runs again, nothing is lost on the way, and the old key goes in the end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development import credentials
from development.api import Api, Object
from development.house import agent_service
from guests import agent_machine
from guests.agent_machine import Machine, eventually, tracer_zip
from guests.enrolled_machine import (
    ANCHOR,
    COMMAND,
    IDENTITY,
    UID,
    bundle,
    mode,
    patch_goal,
    pem,
    run,
    sealed,
    thumbprint,
)
from vmext_operator.core import certificate

CONTENT = b'{"password": "correct-horse"}'
#: What a handler does with its protected settings: it decrypts them by both of openssl's commands.
OPEN = """\
file=config/$ConfigSequenceNumber.settings
name=$(sed 's/.*"protectedSettingsCertThumbprint": "\\([^"]*\\)".*/\\1/' $file)
sed 's/.*"protectedSettings": "\\([^"]*\\)".*/\\1/' $file | base64 -d > /root/envelope
for command in cms smime; do
    openssl $command -decrypt -inform DER -recip ../$name.crt -inkey ../$name.prv < /root/envelope > /root/$command
done
echo $name > /root/name
report success opened
"""


@pytest.fixture
def enrolled(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    """A machine that is enrolled and has an extension with protected settings."""
    with enrolled_with(cluster, api, tmp_path) as machine:
        yield machine


@contextlib.contextmanager
def enrolled_with(cluster: control_plane.Cluster, api: Api, folder: Path, **options: Any) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, folder, start=False, **options) as machine:
        machine.guest.run(["rm", "-r", "/etc/vmext"])
        assert run(machine, "enroll", given=bundle(machine))[0] == 0
        machine.guest.start_service(agent_service())
        machine.does("enable", OPEN)
        machine.want(protected=sealed(machine, CONTENT))
        machine.ends("Succeeded")
        patch_goal(machine, thumbprint=thumbprint(machine))
        yield machine


def proposed(machine: Machine, pem_: str) -> Object:
    """Wait until a certificate is proposed; return the request."""

    def is_it(goal: Object | None) -> bool:
        request = ((goal or {}).get("status") or {}).get("certificateRequest") or {}
        return bool(request.get("certificate") == pem_)

    found = machine.api.wait("GoalState", machine.name, is_it)
    assert found is not None
    request: Object = found["status"]["certificateRequest"]
    return request


def opened(machine: Machine) -> list[bytes]:
    return [machine.guest.read(f"/root/{command}") for command in ("cms", "smime")]


def settings(machine: Machine) -> dict[str, Any]:
    found = json.loads(machine.guest.read(f"/var/lib/waagent/Test.Tracer-1.0.0/config/{machine.last}.settings"))
    handler: dict[str, Any] = found["runtimeSettings"][0]["handlerSettings"]
    return handler


def is_placed(machine: Machine, name: str) -> bool:
    there = {machine.guest.exists(f"/var/lib/waagent/{name}.{suffix}") for suffix in ("prv", "crt")}
    assert len(there) == 1, "one of the two is there alone"
    return there.pop()


def rotate(machine: Machine) -> None:
    """See a rotation through, as the operator would."""
    before = run(machine, "rotate-key")
    assert before[0] == 0, before[2]
    following = pem(machine, "next")
    proposed(machine, following)
    ciphertext, name = sealed(machine, CONTENT, "next")
    # The operator writes both at once.
    machine.entries["one"] |= {"protectedSettings": ciphertext, "thumbprint": name}
    patch_goal(machine, thumbprint=name)
    eventually(lambda: not machine.guest.exists(f"{IDENTITY}/next.pem"))
    eventually(lambda: settings(machine)["protectedSettings"] == ciphertext)


def let_time_pass(machine: Machine) -> None:
    """Have it be two hours since any key was put out of use, and tidy up as after a start."""
    for path in machine.guest.path(IDENTITY).iterdir():
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    machine.kill_worker()


def test_a_key_is_changed_and_nothing_runs_for_it(enrolled: Machine) -> None:
    before, first = thumbprint(enrolled), enrolled.status()
    assert opened(enrolled) == [CONTENT, CONTENT]
    code, said, complained = run(enrolled, "rotate-key")

    following = thumbprint(enrolled, "next")
    assert (code, complained) == (0, "")
    assert f"from {before} to {following}" in said
    assert before != following
    for path in (f"{IDENTITY}/next.pem", f"/var/lib/waagent/{following}.prv"):
        assert mode(enrolled, path) == 0o600
    request = proposed(enrolled, pem(enrolled, "next"))
    made = certificate.check(request["certificate"], UID)
    assert certificate.is_vouched_for(made, request["signature"], pem(enrolled))
    assert f"rotation:     {following} is proposed" in run(enrolled, "status")[1]
    # Again is the same one.
    assert f"to {following}" in run(enrolled, "rotate-key")[1]

    rotate(enrolled)

    assert thumbprint(enrolled) == following
    assert settings(enrolled)["protectedSettingsCertThumbprint"] == following
    assert enrolled.order() == ["1.0.0 install 1", "1.0.0 enable 1"]
    assert enrolled.status() == first
    # It opens what is encrypted to the new one, by both commands, when it does run.
    enrolled.want(protected=sealed(enrolled, b'{"other": 1}'))
    enrolled.ends("Succeeded")
    assert opened(enrolled) == [b'{"other": 1}'] * 2
    assert enrolled.guest.read("/root/name").decode().strip() == following


def test_the_key_before_stays_until_nothing_names_it(enrolled: Machine) -> None:
    before = thumbprint(enrolled)
    other = "/var/lib/waagent/Test.Other-0.9.0/config/1.settings"
    rotate(enrolled)
    enrolled.guest.write(other, before.encode())

    let_time_pass(enrolled)
    eventually(lambda: f"earlier key:  {before}; files that name it: 1" in run(enrolled, "status")[1])
    assert is_placed(enrolled, before)

    enrolled.guest.run(["rm", "-r", os.path.dirname(os.path.dirname(other))])
    let_time_pass(enrolled)
    eventually(lambda: not enrolled.guest.exists(f"{IDENTITY}/{before}.pem"))
    assert not is_placed(enrolled, before)
    assert is_placed(enrolled, thumbprint(enrolled))
    assert "earlier key" not in run(enrolled, "status")[1]


def test_what_was_encrypted_for_the_key_before_alone_still_runs(enrolled: Machine) -> None:
    before = sealed(enrolled, b'{"old": 1}')
    rotate(enrolled)

    enrolled.want(protected=before)
    enrolled.ends("Succeeded")

    assert opened(enrolled) == [b'{"old": 1}'] * 2
    let_time_pass(enrolled)
    eventually(lambda: f"earlier key:  {before[1]}; files that name it" in run(enrolled, "status")[1])
    assert is_placed(enrolled, before[1])


@pytest.mark.parametrize("which", ["machine", "next"])
def test_a_token_that_is_not_taken_yet_is_opened_by_the_key_it_is_for(enrolled: Machine, which: str) -> None:
    token = credentials.issue(enrolled.api, enrolled.name, ANCHOR)
    ciphertext, name = sealed(enrolled, token.encode())
    run(enrolled, "rotate-key")
    if which == "next":
        ciphertext, name = sealed(enrolled, token.encode(), "next")
    taken = {"id": "another", "token": ciphertext, "thumbprint": name, "expiresAt": "2030-01-01T00:00:00Z"}
    patch_goal(enrolled, thumbprint=thumbprint(enrolled, "next"), credential=taken)

    eventually(lambda: enrolled.guest.read("/etc/vmext/token").decode() == token)
    eventually(lambda: thumbprint(enrolled) != name if which == "machine" else thumbprint(enrolled) == name)


def test_whenever_it_is_killed_there_is_a_usable_key_and_it_goes_on(enrolled: Machine) -> None:
    before = thumbprint(enrolled)
    for tenths in range(0, 20, 2):
        kill = ["timeout", "-s", "KILL", f"{tenths / 10 + 0.05:.2f}", *COMMAND, "rotate-key"]
        enrolled.guest.run(kill, check=False)
        assert thumbprint(enrolled) == before
        assert is_placed(enrolled, before)
        assert run(enrolled, "status")[0] == 0
    enrolled.want(protected=sealed(enrolled, b'{"meanwhile": 1}'))
    enrolled.ends("Succeeded")

    rotate(enrolled)

    assert thumbprint(enrolled) != before
    assert not [name for name in os.listdir(enrolled.guest.path(IDENTITY)) if "making" in name]


def test_whenever_it_loses_its_power_there_is_a_usable_key_and_it_goes_on(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    with enrolled_with(cluster, api, tmp_path, ext4=True, small=False) as machine:
        before = thumbprint(machine)
        for tenths in (3, 6, 9, 12, 30):
            machine.guest.run(["timeout", "-s", "KILL", f"{tenths / 10:.1f}", *COMMAND, "rotate-key"], check=False)
            machine.guest.lose_power()
            assert thumbprint(machine) == before
            eventually(lambda: is_placed(machine, before))
        rotate_only(machine)
        following = thumbprint(machine, "next")
        # The operator takes it, and the power goes when the agent may be at changing the two.
        patch_goal(machine, thumbprint=following)
        machine.guest.lose_power()

        eventually(lambda: thumbprint(machine) == following)
        eventually(lambda: is_placed(machine, following) and is_placed(machine, before))
        for name in ("machine", before):
            machine.want(protected=sealed(machine, f'{{"by": "{name}"}}'.encode(), name))
            machine.ends("Succeeded")
            assert opened(machine) == [f'{{"by": "{name}"}}'.encode()] * 2


def rotate_only(machine: Machine) -> None:
    """Have the next key made and proposed."""
    assert run(machine, "rotate-key")[0] == 0
    proposed(machine, pem(machine, "next"))


def test_an_agent_that_is_killed_while_the_keys_change_places_goes_on(enrolled: Machine) -> None:
    run(enrolled, "rotate-key")
    before, following = thumbprint(enrolled), thumbprint(enrolled, "next")
    patch_goal(enrolled, thumbprint=following)
    for _ in range(3):
        enrolled.kill_agent()

    eventually(lambda: thumbprint(enrolled) == following)
    assert is_placed(enrolled, before)
    assert is_placed(enrolled, following)
    enrolled.want(protected=sealed(enrolled, b'{"after": 1}'))
    enrolled.ends("Succeeded")
    assert opened(enrolled) == [b'{"after": 1}'] * 2


def test_a_version_that_is_set_aside_is_put_back_with_settings_that_the_key_before_opens(enrolled: Machine) -> None:
    before = thumbprint(enrolled)
    # The new version's enable waits at a gate and fails: meanwhile the old one is set aside, and the key changes.
    enrolled.does("2.0.0/enable", agent_machine.GATE + "exit 7\n")
    package = enrolled.package(tracer_zip(updateMode="UpdateWithInstall"), "two.zip")
    enrolled.want(version="2.0.0", package=package, protected=sealed(enrolled, CONTENT), same_number=True)
    eventually(lambda: any(line.startswith("2.0.0 enable") for line in enrolled.order()))
    run(enrolled, "rotate-key")
    proposed(enrolled, pem(enrolled, "next"))
    patch_goal(enrolled, thumbprint=thumbprint(enrolled, "next"))
    eventually(lambda: thumbprint(enrolled) != before)
    for name in ("cms", "smime"):
        enrolled.guest.run(["rm", f"/root/{name}"])
    let_time_pass(enrolled)

    enrolled.open_gate()

    failed = enrolled.ends("Failed")
    assert failed["installedVersion"] == "1.0.0"
    assert opened(enrolled) == [CONTENT, CONTENT]
    assert enrolled.guest.read("/root/name").decode().strip() == before


def test_a_machine_that_is_not_enrolled_has_no_key_to_change(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    with agent_machine.running(cluster, api, tmp_path, start=False) as machine:
        code, _, complained = run(machine, "rotate-key")

        assert code == 2
        assert "this machine is not enrolled; paste what kubectl vmext enroll prints" in complained
