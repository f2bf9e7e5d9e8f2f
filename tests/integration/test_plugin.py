"""kubectl vmext against a real API server: what it writes, what it shows, and what it says when it can't."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import control_plane
import packages
from development import credentials
from development.api import Api
from development.house import extension
from development.operator_process import ROOT
from kubectl_vmext import errors
from support.certificates import certificate
from support.plugin import Plugin, nobody

SETTINGS = '{"commandToExecute": "echo hello"}'
CANARY = "correct-horse-battery-staple"
#: Enough of an extension for set to know what is meant, without a catalog.
SET = ("set", "--name", "CustomScript", "-p", "VMExt", "--version", "2.1", "--no-wait")


@pytest.fixture
def typed(cluster: control_plane.Cluster, namespace: str) -> Plugin:
    """The plugin as the administrator runs it."""
    return Plugin(cluster.kubeconfig, namespace)


@pytest.fixture
def machine(api: Api) -> str:
    """A machine that is declared, and nothing more: no operator runs."""
    api.apply(kind("VirtualMachine", "web-1") | {"spec": {"location": "westeurope"}})
    return "web-1"


@pytest.fixture
def package(tmp_path: Path) -> packages.Built:
    """A package in a file."""
    return packages.build(ROOT / "extensions" / "CustomScript", tmp_path / "packages", "http://127.0.0.1:1")


@pytest.fixture
def catalogued(api: Api, package: packages.Built) -> Iterator[packages.Built]:
    """A package in the catalog."""
    api.apply(package.manifest)
    yield package
    api.delete("VirtualMachineExtensionImage", package.manifest["metadata"]["name"])


def kind(name: str, own: str) -> dict[str, Any]:
    return {"apiVersion": "vmext.dev/v1alpha1", "kind": name, "metadata": {"name": own}}


def spec_of(api: Api, name: str) -> dict[str, Any]:
    found = api.get("VirtualMachineExtension", name)
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


def secrets(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.request("GET", f"/api/v1/namespaces/{api.namespace}/secrets")["items"]
    return found


def test_set_declares_by_the_words_of_az(typed: Plugin, api: Api, machine: str) -> None:
    typed.good(*SET, "--vm-name", machine, "--settings", SETTINGS, "--no-auto-upgrade-minor-version", "true")

    spec = spec_of(api, "web-1-customscript")
    assert spec == spec | {
        "vmName": "web-1",
        "publisher": "VMExt",
        "type": "CustomScript",
        "typeHandlerVersion": "2.1",
        "settings": {"commandToExecute": "echo hello"},
        "autoUpgradeMinorVersion": False,
        "enableAutomaticUpgrade": False,
    }


def test_set_again_changes_what_is_said_and_keeps_the_rest(typed: Plugin, api: Api, machine: str) -> None:
    named = ("--vm-name", machine, "--extension-instance-name", "hello")
    typed.good(*SET, *named, "--settings", SETTINGS, "--enable-timeout", "5m")
    typed.good("set", "--name", "customscript", *named, "--force-update", "--no-wait")

    spec = spec_of(api, "hello")
    assert spec["settings"] == {"commandToExecute": "echo hello"}
    assert (spec["timeout"], spec["typeHandlerVersion"], spec["type"]) == ("5m", "2.1", "CustomScript")
    first = spec["forceUpdateTag"]
    typed.good("set", "--name", "CustomScript", *named, "--force-update", "--no-wait")
    assert spec_of(api, "hello")["forceUpdateTag"] != first


def test_set_takes_the_newest_of_the_catalog_where_nothing_is_said(
    typed: Plugin, api: Api, machine: str, catalogued: packages.Built
) -> None:
    typed.good("set", "--vm-name", machine, "--name", "customscript", "--no-wait")
    spec = spec_of(api, "web-1-customscript")
    assert (spec["publisher"], spec["type"], spec["typeHandlerVersion"]) == ("VMExt", "CustomScript", "2.1")


def test_settings_come_from_a_file_and_from_standard_input(
    typed: Plugin, api: Api, machine: str, tmp_path: Path
) -> None:
    (tmp_path / "s.json").write_text(SETTINGS)
    for value in (f"@{tmp_path}/s.json", f"{tmp_path}/s.json", "-"):
        typed.good(*SET, "--vm-name", machine, "--settings", value, given=SETTINGS)
        assert spec_of(api, "web-1-customscript")["settings"] == {"commandToExecute": "echo hello"}
        api.delete("VirtualMachineExtension", "web-1-customscript")


def test_protected_settings_become_a_secret_that_ends_with_the_extension(typed: Plugin, api: Api, machine: str) -> None:
    said = typed.good(*SET, "--vm-name", machine, "--protected-settings", "-", given=json.dumps({"password": CANARY}))
    assert CANARY not in said.out + said.err
    reference = spec_of(api, "web-1-customscript")["protectedSettings"]["secretRef"]
    (made,) = secrets(api)
    assert made["metadata"]["name"] == reference["name"]
    assert made["metadata"]["ownerReferences"][0]["name"] == "web-1-customscript"

    typed.good(*SET, "--vm-name", machine, "--protected-settings", "-", given='{"password": "other"}')
    (other,) = secrets(api)
    assert other["metadata"]["name"] != reference["name"]
    assert spec_of(api, "web-1-customscript")["protectedSettings"]["secretRef"]["name"] == other["metadata"]["name"]


def test_protected_settings_on_the_command_line_are_warned_of(typed: Plugin, machine: str) -> None:
    said = typed.good(*SET, "--vm-name", machine, "--protected-settings", json.dumps({"password": CANARY}))
    assert "can be read by every user of this machine" in said.err
    assert CANARY not in said.out + said.err


def test_a_refused_set_leaves_no_secret_behind(typed: Plugin, api: Api, machine: str) -> None:
    typed.refused(
        errors.USAGE, "publisher", "set", "--vm-name", machine, "--name", "X", "-p", "not a name", "--version", "1",
        "--protected-settings", "-", given='{"a": "b"}',
    )  # fmt: skip
    assert secrets(api) == []


def test_what_somebody_else_looks_after_is_left_alone_unless_forced(typed: Plugin, api: Api, machine: str) -> None:
    api.apply(extension("hello", machine, settings={"commandToExecute": "true"}))
    named = (*SET, "--vm-name", machine, "--extension-instance-name", "hello", "--settings", SETTINGS)

    typed.refused(errors.TAKEN, "--force-conflicts", *named)
    typed.good(*named, "--force-conflicts")
    assert spec_of(api, "hello")["settings"] == {"commandToExecute": "echo hello"}


def test_list_and_show_print_what_az_prints(typed: Plugin, api: Api, machine: str) -> None:
    typed.good(*SET, "--vm-name", machine, "--settings", SETTINGS)

    (listed,) = typed.good("list", "--vm-name", machine, "-o", "json").json
    shown = typed.good("show", "--vm-name", machine, "--name", "CustomScript").json
    assert listed == shown
    assert shown == {
        "autoUpgradeMinorVersion": True,
        "enableAutomaticUpgrade": False,
        "forceUpdateTag": None,
        "id": shown["id"],
        "instanceView": None,
        "location": "westeurope",
        "name": "web-1-customscript",
        "protectedSettings": None,
        "provisionAfterExtensions": None,
        "provisioningState": "Creating",
        "publisher": "VMExt",
        "resourceGroup": api.namespace,
        "settings": {"commandToExecute": "echo hello"},
        "suppressFailures": False,
        "tags": None,
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "typeHandlerVersion": "2.1",
        "typePropertiesType": "CustomScript",
        "vmName": "web-1",
    }
    assert typed.good("list", "--query", "[].name", "-o", "tsv").out == "web-1-customscript\n"
    assert typed.good("show", "web-1-customscript", "--query", "settings", "-o", "yaml").out == (
        "commandToExecute: echo hello\n"
    )
    table = typed.good("list").out.splitlines()
    assert table[0].split()[:3] == ["Name", "VM", "ProvisioningState"]
    assert table[1].split() == ["web-1-customscript", "web-1", "Creating", "VMExt", "CustomScript", "2.1"]


def test_the_catalog_is_listed_as_az_lists_it(typed: Plugin, catalogued: packages.Built) -> None:
    entry = {"name": "CustomScript", "publisher": "VMExt", "version": "2.1.0"}
    for options in (
        [],
        ["--latest"],
        ["-p", "vmext"],
        ["--name", "customscript"],
        ["-l", "westeurope"],
        ["-n", "CustomScript"],
    ):
        assert entry in typed.good("image", "list", *options, "-o", "json").json
    assert typed.good("image", "list", "-p", "Nobody", "-o", "json").json == []
    shown = typed.good("image", "show", "-p", "vmext", "--name", "customscript").json
    assert shown["package"]["sha256"] == catalogued.sha256


def test_a_package_is_entered_into_the_catalog_by_what_it_says_of_itself(
    typed: Plugin, api: Api, package: packages.Built, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:1/x.zip"
    printed = yaml.safe_load(typed.good("image", "add", str(package.zip_path), "--url", url, "--dry-run").out)
    content = package.zip_path.read_bytes()
    assert printed["metadata"]["name"] == "vmext.customscript-2.1.0"
    assert printed["spec"]["package"] == {
        "urls": [url], "sha256": hashlib.sha256(content).hexdigest(), "sizeBytes": len(content),
    }  # fmt: skip
    assert api.get("VirtualMachineExtensionImage", "vmext.customscript-2.1.0") is None

    other = tmp_path / "other.zip"
    other.write_bytes(content)
    named = ("-p", "Mine", "--type", "Script", "--version", "1.0.0", "--url", url)
    add = ("image", "add", str(other), *named, "--enable-timeout", "9m", "-l", "westeurope")
    try:
        assert "is in the catalog" in typed.good(*add).out
        assert "was in the catalog" in typed.good(*add).out
        spec = (api.get("VirtualMachineExtensionImage", "mine.script-1.0.0") or {})["spec"]
        assert spec["defaults"] == {"enableTimeout": "9m"}
        assert spec["locations"] == ["westeurope"]
        other.write_bytes(package.zip_path.read_bytes() + b"\0")
        typed.refused(errors.TAKEN, "raise the version", "image", "add", str(other), *named)
    finally:
        api.delete("VirtualMachineExtensionImage", "mine.script-1.0.0")


def test_what_a_machine_says_is_printed_as_text_and_moves_no_cursor(typed: Plugin, api: Api, machine: str) -> None:
    api.apply(extension("evil", machine))
    status = {
        "code": "ProvisioningState/failed/0",
        "level": "Error",
        "displayStatus": "\x1b[2Jx[red]",
        "message": "\x9b1A",
    }
    api.patch_status("VirtualMachineExtension", "evil", {"provisioningState": "Failed", "statuses": [status]})
    for arguments in (
        ("logs", "evil"),
        ("show", "evil", "--instance-view"),
        ("show", "evil", "--instance-view", "-o", "yaml"),
        ("instance-view", machine, "-o", "table"),
        ("instance-view", machine, "-o", "tsv"),
    ):
        said = typed.good(*arguments).out
        assert "\x1b" not in said, arguments
        assert "\x9b" not in said, arguments
    assert "[red]" in typed.good("instance-view", machine, "-o", "table").out


def test_wait_tells_by_its_exit_code(typed: Plugin, api: Api, machine: str) -> None:
    typed.good(*SET, "--vm-name", machine, "--extension-instance-name", "hello")
    typed.refused(errors.TIMED_OUT, "has not seen it yet", "wait", "hello", "--created", "--timeout", "0s")
    typed.refused(errors.NOT_FOUND, "has no VirtualMachineExtension other", "wait", "other", "--created")
    typed.good("wait", "hello", "--exists")
    typed.good("wait", "hello", "--custom", "provisioningState=='Creating'")
    typed.refused(errors.TIMED_OUT, "in vain", "wait", "hello", "--custom", "name=='x'", "--timeout", "0")
    typed.refused(errors.USAGE, "is no JMESPath", "wait", "hello", "--custom", "][")
    typed.refused(errors.USAGE, "wait for what?", "wait", "hello")
    condition = {
        "type": "Stalled", "status": "True", "reason": "UnknownImage", "message": "the catalog has none",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    ready = condition | {"type": "Ready", "status": "False"}
    api.patch_status("VirtualMachineExtension", "hello", {"observedGeneration": 1, "conditions": [condition, ready]})
    typed.refused(errors.FAILED, "hello failed, UnknownImage: the catalog has none", "wait", "hello", "--created")
    typed.good("delete", "hello", "--no-wait")
    typed.good("wait", "hello", "--deleted")


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        # A machine that is not there.
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", (*SET, "--vm-name", "nowhere")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("list", "--vm-name", "nowhere")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("show", "--vm-name", "nowhere", "--name", "x")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("delete", "--vm-name", "nowhere", "--name", "x")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("wait", "x", "--vm-name", "nowhere", "--created")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("logs", "--vm-name", "nowhere", "--name", "x")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("instance-view", "nowhere")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("enroll", "nowhere")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("revoke", "nowhere")),
        (errors.NOT_FOUND, "has no VirtualMachine nowhere", ("encrypt", "--vm", "nowhere", "--from-file", "-")),
        # An extension, or a version, that is not there.
        (errors.NOT_FOUND, "see kubectl vmext list", ("show", "x")),
        (errors.NOT_FOUND, "see kubectl vmext list", ("delete", "x")),
        (errors.NOT_FOUND, "see kubectl vmext list", ("logs", "x")),
        (errors.NOT_FOUND, "web-1 has no extension x; it has none", ("show", "--vm-name", "web-1", "--name", "x")),
        (errors.NOT_FOUND, "the catalog has no Nothing", ("set", "--vm-name", "web-1", "--name", "Nothing")),
        (errors.NOT_FOUND, "the catalog has no A.B", ("image", "show", "-p", "A", "--name", "B")),
        (errors.NOT_FOUND, "has the labels no=such", ("enroll", "-l", "no=such")),
        # What can't be read.
        (errors.USAGE, "--settings is not JSON: line 1, column 2", (*SET, "--vm-name", "web-1", "--settings", "{")),
        (errors.USAGE, "is not a JSON object", (*SET, "--vm-name", "web-1", "--settings", "[1]")),
        (errors.USAGE, "is not JSON", (*SET, "--vm-name", "web-1", "--settings", "[" * 100_000)),
        (errors.USAGE, "/nowhere can't be read", (*SET, "--vm-name", "web-1", "--settings", "@/nowhere")),
        (errors.USAGE, "standard input is not JSON", (*SET, "--vm-name", "web-1", "--protected-settings", "-")),
        (errors.USAGE, "standard input is not JSON", ("encrypt", "--certificate", "/dev/null", "--from-file", "-")),
        (errors.USAGE, "is no JMESPath", ("list", "--query", "[?")),
        (errors.USAGE, "No such option", ("list", "--nonsense")),
        (errors.USAGE, "No such command", ("nonsense",)),
        (errors.USAGE, "Missing option '--vm-name'", ("set", "--name", "x")),
        (errors.USAGE, "which extension?", ("show",)),
        (errors.USAGE, "which machine?", ("instance-view",)),
        (errors.USAGE, "which machines?", ("enroll",)),
        (errors.USAGE, "which machines?", ("revoke", "x", "-l", "a=b")),
        (errors.USAGE, "for whom?", ("encrypt", "--from-file", "-")),
        (errors.USAGE, "'tomorrow' is no duration", ("wait", "x", "--created", "--timeout", "tomorrow")),
        (errors.USAGE, "can't be the name", (*SET, "--vm-name", "web-1", "--extension-instance-name", "A_b")),
        (errors.USAGE, "spec.timeout", (*SET, "--vm-name", "web-1", "--enable-timeout", "soon")),
        (errors.USAGE, "/nowhere can't be read", ("image", "add", "/nowhere", "--url", "http://x/y")),
        (errors.USAGE, "does not start with http", ("image", "add", "x.zip", "--url", "ftp://x/y")),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said_in_one_line_that_helps(
    typed: Plugin, machine: str, code: int, words: str, arguments: tuple[str, ...]
) -> None:
    typed.refused(code, words, *arguments)


@pytest.mark.parametrize(
    ("taken", "options", "words"),
    [
        ({}, ("--vm-name", "web-2"), "is taken by an extension of web-1"),
        ({"type": "Other"}, ("--vm-name", "web-1"), "is taken by VMExt.Other"),
    ],
)
def test_a_name_that_is_taken_is_not_taken_away(
    typed: Plugin, api: Api, machine: str, taken: dict[str, Any], options: tuple[str, ...], words: str
) -> None:
    api.apply(kind("VirtualMachine", "web-2"))
    api.apply(extension("hello", machine, **taken))
    typed.refused(errors.TAKEN, words, *SET, *options, "--extension-instance-name", "hello")


COMMANDS = (
    ("image", "list"),
    ("image", "show", "-p", "VMExt", "--name", "CustomScript"),
    ("list",),
    (*SET, "--vm-name", "web-1"),
    ("show", "x"),
    ("delete", "x"),
    ("remove-undeclared", "web-1", "A.B"),
    ("wait", "x", "--created"),
    ("instance-view", "web-1"),
    ("logs", "x"),
    ("enroll", "web-1"),
    ("revoke", "web-1"),
    ("encrypt", "--vm", "web-1", "--from-file", "-"),
    ("plan", "-f", str(ROOT / "examples" / "demo.yaml")),
    ("convert", str(ROOT / "examples" / "arm" / "1-a-script-on-a-machine.json")),
    ("doctor",),
)
#: These do not need the cluster, or say in full what they may not see.
TOLERANT = ("convert", "doctor")


def test_without_rights_every_command_says_so(
    cluster: control_plane.Cluster, api: Api, machine: str, package: packages.Built, tmp_path: Path
) -> None:
    typed = Plugin(nobody(cluster, api, tmp_path), api.namespace)
    add = ("image", "add", str(package.zip_path), "--url", "http://127.0.0.1/x.zip")
    for arguments in (*(one for one in COMMANDS if one[0] not in TOLERANT), add):
        typed.refused(errors.NO_RIGHTS, "ask whoever runs the cluster for that right", *arguments)


def test_without_a_cluster_every_command_says_so(tmp_path: Path, package: packages.Built) -> None:
    broken = tmp_path / "broken"
    broken.write_text("{{{")
    empty = tmp_path / "empty"
    empty.write_text("")
    gone = tmp_path / "gone"
    authority = base64.b64encode(certificate("x").encode()).decode()
    with_nobody = {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": authority}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    gone.write_text(
        yaml.safe_dump({"clusters": [with_nobody], "contexts": [context], "users": [user], "current-context": "x"})
    )
    for kubeconfig, words in (
        (tmp_path / "nowhere", "no cluster: "),
        (broken, "no cluster: "),
        (empty, "no cluster: "),
        (gone, "https://127.0.0.1:1 can't be reached"),
    ):
        typed = Plugin(kubeconfig, "default")
        add = ("image", "add", str(package.zip_path), "--url", "http://127.0.0.1/x.zip")
        needing = [one for one in COMMANDS if one[0] != "convert"]
        for arguments in (*needing, add) if kubeconfig == gone else COMMANDS[:1]:
            typed.refused(errors.NO_CLUSTER, words, *arguments)
    typed.refused(errors.NO_CLUSTER, "no cluster", "--context", "other", "list")


def test_the_doctor_looks_at_everything_and_fails_for_what_does_not_work(
    typed: Plugin, cluster: control_plane.Cluster, api: Api, machine: str, catalogued: packages.Built, tmp_path: Path
) -> None:
    # Operators of other tests have left theirs.
    cluster.kubectl("delete", "lease", "vmext-operator", "--namespace=vmext-system", "--ignore-not-found")
    found = typed.run("doctor", "--vm-name", machine, "-o", "json").json
    said = {(one["level"], one["what"]): one["words"] for one in found}
    assert said["ok", "CRDs"] == "vmext.dev/v1alpha1 serves 4 kinds"
    assert said["ok", "RBAC"] == "you may do all that the commands do"
    assert "there is no Lease vmext-operator" in said["warn", "operator"]
    assert "http://127.0.0.1:1/VMExt.CustomScript__2.1.0.zip can't be reached" in said["warn", "package"]
    assert all(one["remedy"] for one in found if one["level"] != "ok")

    blind = Plugin(nobody(cluster, api, tmp_path), api.namespace).run("doctor")
    assert blind.code == errors.FAILED
    assert "fail RBAC: you may not see machines" in blind.out
    assert "-> ask for list on virtualmachines.vmext.dev" in blind.out
    assert blind.err.count("\n") == 1
    typed.refused(errors.NOT_FOUND, "has no VirtualMachine nowhere", "doctor", "--vm-name", "nowhere")


def test_convert_goes_on_without_a_catalog(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> None:
    template = str(ROOT / "examples" / "arm" / "1-a-script-on-a-machine.json")
    for typed in (Plugin(nobody(cluster, api, tmp_path), api.namespace), Plugin("/nowhere", "default")):
        made = typed.good("convert", template)
        assert "publisher: Microsoft.Azure.Extensions" in made.out
        assert "publishers are kept as they are" in made.err
    said = Plugin("/nowhere", "default").run("convert", template, "--offline")
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize(
    ("code", "content", "words"),
    [
        (errors.USAGE, "{", "is not JSON: "),
        (errors.USAGE, "{}", "and this has none"),
        (errors.USAGE, "[" * 100_000, "is not JSON"),
        (errors.NOT_FOUND, '{"resources": []}', "neither a virtual machine nor an extension"),
        (
            errors.USAGE,
            '{"resources": [], "parameters": {"p": {"type": "securestring"}}}',
            "parameters without a value: p",
        ),
    ],
)
def test_what_can_not_be_converted_is_refused(tmp_path: Path, code: int, content: str, words: str) -> None:
    (tmp_path / "t.json").write_text(content)
    Plugin("/nowhere", "default").refused(code, words, "convert", "--offline", f"{tmp_path}/t.json")


def test_those_whose_token_ended_are_enrolled_in_one_go_and_stay_who_they_are(typed: Plugin, api: Api) -> None:
    for name, ends in (
        ("off-1", "2026-01-01T00:00:00Z"),
        ("off-2", "2026-01-01T00:00:00Z"),
        ("on", "2126-01-01T00:00:00Z"),
    ):
        api.apply(kind("VirtualMachine", name))
        credentials.issue(api, name, "a")
        api.patch_status(
            "VirtualMachine", name, {"credential": {"anchorUID": "a", "thumbprint": "AB" * 20, "expiresAt": ends}}
        )

    ended = typed.good("enroll", "--expired", "-o", "json")

    assert [one["name"] for one in ended.json] == ["off-1", "off-2"]
    assert len({one["token"] for one in ended.json}) == 2
    for name in ("off-1", "off-2"):
        machine = api.get("VirtualMachine", name)
        assert machine is not None
        assert machine["status"]["credential"]["thumbprint"] == "AB" * 20
    assert "grants tokens of" not in ended.err
    typed.refused(errors.USAGE, "--expired keeps certificates", "enroll", "--expired", "--again")


def test_completion_offers_what_there_is(typed: Plugin, machine: str) -> None:
    assert "list\t" in typed.good("__complete", "image", "l").out
    where = typed.where
    assert typed.good("__complete", *where, "instance-view", "we").out.splitlines() == ["web-1", ":4"]
    assert typed.good("__complete", *where, "set", "--vm-name", "").out.splitlines() == ["web-1", ":4"]
    assert typed.good("__complete", "--kubeconfig", "/nowhere", "instance-view", "").out == ":4\n"
    for shell in ("bash", "zsh", "fish"):
        assert "kubectl-vmext" in typed.good("completion", shell).out


def test_what_is_waited_for_is_shown_on_a_terminal_and_nowhere_else(typed: Plugin, api: Api, machine: str) -> None:
    api.apply(extension("hello", machine))
    command = [sys.executable, "-m", "kubectl_vmext", *typed.where, "wait", "hello", "--created", "--timeout", "2s"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "operator"), "TERM": "xterm", "COLUMNS": "200"}
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, check=False)
        os.close(theirs)
        shown = b""
        # A terminal that nobody holds any more ends in an error.
        with contextlib.suppress(OSError):
            while part := terminal.read(65536):
                shown += part
    assert done.returncode == errors.TIMED_OUT
    assert b"waiting for hello: the operator has not seen it yet" in shown
    assert done.stdout == b""
    piped = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert b"waiting" not in piped.stderr


def test_a_plan_says_what_would_run_where_and_writes_nothing(
    typed: Plugin, api: Api, machine: str, catalogued: packages.Built, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    known = extension("hello", machine, settings={"commandToExecute": "true"})
    unknown = extension("other", machine, type="Nothing")
    (tmp_path / "inner" / "a.yaml").write_text(yaml.safe_dump_all([known, kind("ConfigMap", "x")]))
    (tmp_path / "b.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [unknown]}))

    planned = {one["extension"]: one for one in typed.good("plan", "-f", str(tmp_path), "-o", "json").json}

    assert set(planned) == {"hello", "other"}
    assert {key: planned["hello"][key] for key in ("machine", "action", "after", "runs")} == {
        "machine": machine, "action": "add", "after": "2.1.0", "runs": True,
    }  # fmt: skip
    assert (planned["other"]["action"], planned["other"]["runs"]) == ("hold", False)
    assert "UnknownImage" in planned["other"]["why"]
    assert api.get("VirtualMachineExtension", "hello") is None
    given = typed.good("plan", "-f", "-", "--query", "[].action", "-o", "tsv", given=yaml.safe_dump(known))
    assert given.out == "add\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not YAML, line"),
        ("just words", "is no object of Kubernetes"),
        ("kind: VirtualMachine\nmetadata: {name: x}\nspec: 7", "the spec of x is no object"),
        ("kind: VirtualMachineExtension\nmetadata: {name: x}", "can't be understood: spec.vmName: is missing"),
        (
            "apiVersion: vmext.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: x, namespace: other}",
            "x is for namespace other; plan it by -n other",
        ),
    ],
)
def test_what_can_not_be_planned_is_refused(typed: Plugin, content: str, words: str) -> None:
    typed.refused(errors.USAGE, words, "plan", "-f", "-", given=content)


def test_an_empty_folder_is_no_plan(typed: Plugin, tmp_path: Path) -> None:
    typed.refused(errors.USAGE, "has no .yaml, .yml, .json file", "plan", "-f", str(tmp_path))
