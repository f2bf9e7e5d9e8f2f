"""Real Flux between a git repository and simulated guests: `make test-gitops`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import simulated_guest
from development.api import condition
from development.house import House, agent_service, extension
from gitops.conftest import Stopwatch
from gitops.site import EXAMPLES, Site
from kubectl_vmext import __main__ as plugin
from support.guests import skipping

EXTENSION = "VirtualMachineExtension"
HANDLER = "/var/lib/waagent/VMExt.CustomScript-2.1.0"
CANARY = "correct-horse-battery-staple"


def manifests(*objects: Any) -> dict[str, str | None]:
    """Return a site of one machine and what is on it, as files."""
    machine = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "web-1"}}
    return {"site.yaml": yaml.safe_dump_all([machine, *objects])}


def hello(command: str = "echo hello > /root/hello", **spec: Any) -> Any:
    return extension("hello", "web-1", settings={"commandToExecute": command}, **spec)


def add_machine(home: House, name: str) -> simulated_guest.Guest:
    with skipping():
        return home.add_machine(name, declare=False)


def stalled(home: House, name: str) -> tuple[str, str]:
    found = condition(home.api.get(EXTENSION, name), "Stalled")
    assert found is not None
    return found["reason"], found["message"]


def test_the_example_converges_and_what_leaves_git_is_uninstalled(site: Site, stopwatch: Stopwatch) -> None:
    guests = {name: add_machine(site.home, name) for name in ("db-1", "web-1")}
    stopwatch.lap("two machines booted")

    commit = site.commit("The site", {path.name: path.read_text() for path in (EXAMPLES / "site").iterdir()})
    for name in ("database", "frontend"):
        site.home.api.wait_ready(name, timeout_s=60)
    stopwatch.lap("commit to both extensions Ready")
    site.wait(commit, "True")
    stopwatch.lap("from there to Kustomization Ready")
    assert guests["web-1"].read("/root/frontend") == b"asking db-1\n"

    first = (EXAMPLES / "site" / "extensions.yaml").read_text().partition("\n---\n")[0]
    commit = site.commit("Without a frontend", {"extensions.yaml": first})
    site.home.api.wait_gone(EXTENSION, "frontend", timeout_s=60)
    stopwatch.lap("pruned by a commit: uninstalled and gone")
    assert not guests["web-1"].exists(HANDLER)
    assert guests["db-1"].exists(HANDLER)
    site.wait(commit, "True")


def test_a_script_that_fails_fails_the_commit_at_once_and_its_revert_heals(site: Site, stopwatch: Stopwatch) -> None:
    guest = add_machine(site.home, "web-1")
    site.wait(site.commit("Good", manifests(hello())), "True")
    stopwatch.lap("commit to Kustomization Ready")

    broken = site.commit("Broken", manifests(hello("ech hello")))
    reason, message = site.wait(broken, "False")
    took = stopwatch.lap("broken commit to Kustomization Ready=False")
    assert took < 60, "its timeout is 30 minutes"
    assert reason == "HealthCheckFailed"
    assert f"{EXTENSION}/{site.home.api.namespace}/hello status: 'Failed'" in message
    site.say(f"          Flux says: {message}")
    ours, words = stalled(site.home, "hello")
    assert ours == "ExecutionFailed"
    assert "ech: not found" in words
    site.say(f"          vmext says: {ours}: {' '.join(words.split())}")

    guest.run(["rm", "/root/hello"])
    reverted = site.git.revert()
    site.tell()
    site.wait(reverted, "True")
    stopwatch.lap("revert to Kustomization Ready")
    assert guest.read("/root/hello") == b"hello\n"


def test_a_version_that_is_not_in_the_catalog_fails_the_commit(site: Site, stopwatch: Stopwatch) -> None:
    add_machine(site.home, "web-1")

    broken = site.commit("Unknown", manifests(hello(typeHandlerVersion="9.9")))
    reason, message = site.wait(broken, "False", timeout_s=180)
    took = stopwatch.lap("commit of an unknown image to Kustomization Ready=False (a minute of it is ours)")
    assert took < 120
    assert reason == "HealthCheckFailed"
    assert f"{EXTENSION}/{site.home.api.namespace}/hello status: 'Failed'" in message
    assert stalled(site.home, "hello")[0] == "UnknownImage"

    site.wait(site.commit("Known", manifests(hello())), "True")
    stopwatch.lap("mended commit to Kustomization Ready")


def test_settings_sealed_for_a_machine_travel_through_git(
    site: Site, stopwatch: Stopwatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = site.home
    with skipping():
        guest = home.add_guest("web-1")
    site.wait(site.commit("A machine", manifests()), "True")
    stopwatch.lap("commit of a machine that is not enrolled to Kustomization Ready")
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    capsys.readouterr()
    assert plugin.main(["enroll", *where, "web-1"]) == 0
    guest.run(["sh", "-c", capsys.readouterr().out])
    guest.start_service(agent_service())
    home.api.wait("VirtualMachine", "web-1", lambda vm: "thumbprint" in ((vm or {})["status"].get("credential") or {}))
    (tmp_path / "settings.json").write_text(json.dumps({"commandToExecute": f"echo {CANARY} > /root/seen"}))
    capsys.readouterr()
    assert plugin.main(["encrypt", *where, "--vm", "web-1", "--from-file", f"{tmp_path}/settings.json"]) == 0
    sealed = yaml.safe_load(capsys.readouterr().out)
    stopwatch.lap("enrolled, and settings sealed for it")

    site.wait(site.commit("Sealed", manifests(extension("sealed", "web-1", **sealed))), "True")
    stopwatch.lap("sealed commit to Kustomization Ready")
    assert guest.read("/root/seen").decode().strip() == CANARY
    assert CANARY not in site.git.everything()
    assert "encrypted" in site.git.everything()
