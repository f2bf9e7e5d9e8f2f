"""One secret goes through everything that can happen to it, and then is looked for everywhere."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml

import control_plane
import simulated_guest
from development import house
from development.api import condition
from development.house import House, agent_service, extension
from development.operator_process import ROOT
from guests.agent_machine import manifest
from kubectl_vmext import __main__ as plugin
from support import clusters, places
from support.guests import skipping
from support.liar import Liar
from support.needles import Needles
from support.waiting import eventually

NAME = "canary"
HANDLER = ROOT / "tests" / "handlers" / "sealed" / "handler"
#: What the script kept, and what the other handler opened.
ON_THE_GUEST = (
    "/root/kept",
    "/root/opened.Test.Sealed-1.0.0.cms",
    "/root/opened.Test.Sealed-1.0.0.smime",
)


class Cage(NamedTuple):
    """The house of the canary: the operator logs all that it can, and reaches the API server by a liar."""

    home: House
    cluster: control_plane.ControlPlane
    liar: Liar
    guest: simulated_guest.Guest
    metrics: str


@pytest.fixture(scope="module")
def cage(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cage]:
    own = clusters.own(cluster)
    folder = tmp_path_factory.mktemp("canary")
    namespace = f"{folder.parent.name}-{folder.name}".replace("_", "-").lower()
    cluster.kubectl("create", "namespace", namespace)
    source = tmp_path_factory.mktemp("sealed")
    (source / "handler").write_bytes(HANDLER.read_bytes())
    (source / "HandlerManifest.json").write_bytes(manifest())
    (source / "extension.yaml").write_text("publisher: Test\ntype: Sealed\nversion: 1.0.0\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    watch_secrets = str(house.RIGHTS / "if-asked" / "watch-secrets.yaml")
    cluster.kubectl("apply", "-f", watch_secrets)
    with (
        Liar(own.server, own.ca_file) as liar,
        house.running(
            folder,
            print,
            sources=(ROOT / "extensions" / "CustomScript", source),
            cluster=cluster,
            namespace=namespace,
            operator_server=liar.url,
            operator_options=("--log-level", "debug", f"--probe-address=127.0.0.1:{port}", "--watch-secrets"),
        ) as home,
    ):
        with skipping():
            guest = home.add_guest(NAME)
        home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": NAME}})
        metrics = f"http://127.0.0.1:{port}/metrics"
        eventually(lambda: requests.get(metrics, timeout=5).ok, despite=(requests.ConnectionError,))
        yield Cage(home, own, liar, guest, metrics)
    cluster.kubectl("delete", "-f", watch_secrets)


def enrol(cage: Cage, capsys: pytest.CaptureFixture[str]) -> None:
    cage.guest.run(["sh", "-c", kubectl_vmext(cage, capsys, "enroll", NAME)])
    cage.guest.start_service(agent_service())
    cage.home.api.wait(
        "VirtualMachine", NAME, lambda vm: "thumbprint" in ((vm or {})["status"].get("credential") or {})
    )


def kubectl_vmext(cage: Cage, capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    capsys.readouterr()
    where = ["--kubeconfig", str(cage.cluster.kubeconfig), "-n", cage.home.api.namespace]
    assert plugin.main([command, *where, *arguments]) == 0
    return capsys.readouterr().out


def put_secret(cage: Cage, name: str, content: str) -> None:
    data = {"settings": base64.b64encode(content.encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    cage.cluster.kubectl("apply", "--server-side", "-n", cage.home.api.namespace, "-f", "-", input=json.dumps(body))


def script(value: str, then: str = ":") -> str:
    return json.dumps({"commandToExecute": f"umask 077; echo {value} >> /root/kept; {then}"})


def kept(cage: Cage) -> list[str]:
    try:
        return cage.guest.read("/root/kept").decode().split()
    except FileNotFoundError:
        return []


def look_everywhere(cage: Cage, needles: Needles) -> dict[str, set[str]]:
    """Return where it is, but for the guest's disk."""
    folder, operator = cage.home.folder, cage.home.operator
    processes = {"the operator": operator.pid}
    processes |= {" ".join(process.argv): process.pid for process in cage.guest.processes()}
    with requests.Session() as session:
        session.trust_env = False
        metrics = session.get(cage.metrics, timeout=30).text
    assert "vmext_" in metrics
    return {
        "metrics": {"/metrics"} if needles.are_in(metrics) else set(),
        "api": places.in_api(cage.cluster, needles),
        "etcd": places.in_etcd(cage.cluster.folder, needles),
        # The operator's log, what is served, the consoles of the guest; its disk is looked at by itself.
        "files": {one for one in places.in_folder(folder, needles) if "/disk/" not in one},
        "control plane's logs": {
            log.name for log in cage.cluster.folder.glob("*.log") if needles.are_in(log.read_bytes())
        },
        "processes": {words for words, pid in processes.items() if places.in_process(pid, needles)},
    }


def look_again(cage: Cage, number: int) -> None:
    """Have the operator look at the Secret of the script, and wait until it is content."""
    reference = {"secretRef": {"name": "good", "key": "settings"}}
    cage.home.api.apply(extension("script", NAME, protectedSettings=reference, tags={"look": str(number)}))


def watch_it_run(cage: Cage, watching: places.Watching, value: Needles) -> None:
    """Return when the script with that value has been at work under the watcher's eyes."""
    eventually(lambda: value.value in kept(cage))
    looked = watching.looks
    eventually(lambda: watching.looks > looked + 10)


def spread_rubbish(cage: Cage, value: str) -> None:
    """Have the API server's answers about the Secret be rubbish that is made of it."""
    encoded = base64.b64encode(script(value).encode()).decode()
    rubbish: list[tuple[int, Any]] = [
        (500, {"data": encoded}),
        (500, {"message": f"no {value}"}),
        (403, {"message": f"may not {value}"}),
        (409, {"message": f"{value} is in the way"}),
        (200, [value]),
        (200, {"data": [encoded]}),
        (200, {"data": {"settings": [encoded]}}),
        (200, {"data": {"settings": {value: encoded}}}),
        (200, {"data": {"settings": f"\u00e4{encoded}"}}),
        (200, {"data": {"settings": encoded[:-1]}}),
    ]
    for number, (status, body) in enumerate(rubbish):
        cage.liar.tell("/secrets/good", lambda *_: (status, json.dumps(body).encode()))  # noqa: B023 - told at once
        look_again(cage, number)
        eventually(lambda: not cage.liar.untold)
        cage.home.api.wait_ready("script")
    # And about its anchor, with nothing in it that an anchor must have: that is a bug's way, with a traceback.
    machine = f"/secrets/vmext-vm-{NAME}"
    cage.liar.tell(machine, lambda *_: (200, json.dumps({"data": {"a": value}, value: encoded}).encode()))
    # It is looked at before a goal state is made.
    cage.home.api.delete("GoalState", NAME)
    eventually(lambda: "reconcile failed unexpectedly" in cage.home.operator.log.read_text())
    assert '"traceback"' in cage.home.operator.log.read_text()


def crash(cage: Cage) -> None:
    """Have the operator end with a traceback, and by a kill; have the agent killed."""
    operator, before = cage.home.operator, cage.home.operator.log.read_text().count("Traceback")
    operator.kill()
    cage.liar.tell("/virtualmachineextensions?", lambda _, body: (200, b'{"items": ' + body + b"}"))
    operator.start()
    eventually(lambda: operator.log.read_text().count("Traceback") > before)
    cage.guest.kill_service(house.AGENT)
    look_again(cage, 100)
    cage.home.api.wait_ready("script", timeout_s=60)


def test_a_secret_is_where_its_user_put_it_and_where_root_of_its_machine_alone_reads_it(
    cage: Cage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, guest, namespace = cage.home, cage.guest, cage.home.api.namespace
    first, second, of_git = values = Needles(), Needles(), Needles()
    enrol(cage, capsys)
    with places.Watching(guest, values) as watching:
        # Applied and rotated, each time with the script at work for a while.
        for value in (first, second):
            guest.write("/etc/sealed.waits", b"")
            put_secret(cage, "good", script(value.value, "while [ -e /etc/sealed.waits ]; do sleep 0.1; done"))
            look_again(cage, 1000 + values.index(value))
            watch_it_run(cage, watching, value)
            guest.run(["rm", "/etc/sealed.waits"])
            home.api.wait_ready("script")
        put_secret(cage, "good", script(second.value))
        # From git, opened by both commands; then failed.
        (tmp_path / "s.json").write_text(json.dumps({"password": of_git.value}))
        printed = kubectl_vmext(cage, capsys, "encrypt", "--vm", NAME, "--from-file", f"{tmp_path}/s.json")
        sealed: dict[str, Any] = {"publisher": "Test", "type": "Sealed", "typeHandlerVersion": "1.0"}
        home.api.apply(extension("sealed", NAME, **sealed, **yaml.safe_load(printed)))
        home.api.wait_ready("sealed")
        for command in ("cms", "smime"):
            opened = json.loads(guest.read(f"/root/opened.Test.Sealed-1.0.0.{command}"))
            assert opened == {"password": of_git.value}
        home.api.apply(extension("sealed", NAME, settings={"fail": True}, **sealed, **yaml.safe_load(printed)))
        home.api.wait_stalled("sealed")
        # Not to be used: the operator says so of each.
        put_secret(cage, "spoilt", f'{{"commandToExecute": "{first.value}"')
        put_secret(cage, "list", json.dumps([first.value]))
        for name in ("spoilt", "list"):
            named = {"secretRef": {"name": name, "key": "settings"}}
            home.api.apply(extension(name, NAME, **sealed, protectedSettings=named))
            home.api.wait(
                "VirtualMachineExtension", name, lambda found: (found or {})["status"]["observedGeneration"] == 1
            )
        spread_rubbish(cage, second.value)
        crash(cage)
        # And a script that fails with it.
        put_secret(cage, "good", script(second.value, "exit 7"))
        look_again(cage, 101)
        stalled = condition(home.api.wait_stalled("script"), "Ready")
        assert stalled is not None
        assert "7" in stalled["message"]
    assert {"/bin/sh -c eval", "sleep 0.1"} <= {words.split(' "$')[0] for words in watching.seen}, watching.seen
    assert not watching.found

    problems = []
    for number, (value, now, ever) in enumerate(
        ((first, {"spoilt", "list"}, {"spoilt", "list", "good"}), (second, {"good"}, {"good"}), (of_git, set(), set()))
    ):
        found = look_everywhere(cage, value)
        # What was in etcd is there until it is compacted.
        keys = {name: f"/registry/secrets/{namespace}/{name}" for name in ever}
        if found.pop("api") != {f"Secret/{namespace}/{name}" for name in now}:
            problems.append(f"{number}: not in the user's Secrets and nowhere else in the API")
        if not {keys[name] for name in now} <= found["etcd"] <= set(keys.values()):
            problems.append(f"{number}: in etcd it is in {found['etcd']}")
        del found["etcd"]
        problems += [f"{number}: in {place}: {those}" for place, those in found.items() if those]
        files = places.on_guest(guest, value)
        assert files
        problems += [
            f"{number}: on the guest: {file}"
            for file in files
            if not file.is_roots_alone or file.path not in ON_THE_GUEST
        ]
    assert not problems, "\n".join(problems)


def test_who_searches_finds(cage: Cage, tmp_path: Path) -> None:
    needles = Needles()
    nothing = look_everywhere(cage, needles)
    assert not any(nothing.values()), nothing
    assert not places.on_guest(cage.guest, needles)

    value, part = needles.value, needles.value[10:26]
    once = base64.b64encode(f"a{value}b".encode()).decode()
    annotations = {"once": once, "twice": base64.b64encode(f"{{{once}}}".encode()).decode()}
    for name, annotation in annotations.items():
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": {"a": annotation}}}
        cage.cluster.kubectl("apply", "-n", cage.home.api.namespace, "-f", "-", input=json.dumps(body))
    gone = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gone"}, "data": {"a": part}}
    cage.cluster.kubectl("apply", "-n", cage.home.api.namespace, "-f", "-", input=json.dumps(gone))
    cage.cluster.kubectl("delete", "configmap", "gone", "-n", cage.home.api.namespace)
    (cage.home.folder / "leak.log").write_text(f"... {part.encode().hex()} ...")
    cage.guest.write("/var/tmp/leak", part.encode(), mode=0o644)
    argument = subprocess.Popen(cage.guest.command(["sleep", "120.0"]), env={"A": once})
    try:
        eventually(lambda: [one for one in cage.guest.processes() if one.argv == ["sleep", "120.0"]])
        found, files = look_everywhere(cage, needles), places.on_guest(cage.guest, needles)
    finally:
        argument.kill()
        argument.wait()

    home = cage.home.api.namespace
    assert found["api"] == {f"ConfigMap/{home}/{name}" for name in annotations}
    assert found["etcd"] == {f"/registry/configmaps/{home}/{name}" for name in (*annotations, "gone")}
    assert found["files"] == {"leak.log"}
    assert "sleep 120.0" in found["processes"]
    assert [(file.path, file.is_roots_alone) for file in files] == [("/var/tmp/leak", False)]
