"""What the operator says of itself: probes that tell the truth, and what it does when a watch hangs."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import control_plane
from development.api import Api, Object
from development.house import extension
from development.operator_process import Operator
from support import accounts, proxy
from support.proxy import Faults, Proxy
from support.waiting import eventually

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations" / "metrics.md"


@pytest.fixture
def between(cluster: control_plane.Cluster) -> Iterator[Proxy]:
    with proxy.running(cluster.server, cluster.ca_file, random.Random(1)) as running:
        yield running


@pytest.fixture
def operator(cluster: control_plane.Cluster, between: Proxy, tmp_path: Path) -> Iterator[Operator]:
    name = f"probed-{tmp_path.name}".replace("_", "-").lower()[:60].rstrip("-")
    kubeconfig = accounts.kubeconfig(cluster, tmp_path, name, server=between.url)
    options = ("--probe-address=127.0.0.1:0", "--resync-seconds=3", "--log-level=debug")
    made = Operator(kubeconfig, tmp_path / "operator.log", *options)
    made.start()
    yield made
    made.stop()


def port(operator: Operator) -> int:
    """Return where its present process serves."""
    eventually(lambda: "probes served" in operator.log.read_text())
    return int(re.findall(r"probes served port=(\d+)", operator.log.read_text())[-1])


def ask(number: int, path: str) -> tuple[int, str]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"http://127.0.0.1:{number}{path}", timeout=10)
        return answer.status_code, answer.text


def value(number: int, name: str) -> float:
    """Return a metric's value, 0 where there is none yet."""
    lines = [line for line in ask(number, "/metrics")[1].splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def declare(api: Api, name: str) -> None:
    image = {"urls": ["http://127.0.0.1:9/1.zip"], "sha256": "ab" * 32, "sizeBytes": 1}
    objects: list[Object] = [
        {"kind": "VirtualMachine", "metadata": {"name": name}},
        {
            "kind": "VirtualMachineExtensionImage",
            "metadata": {"name": "test.probed-1.0.0"},
            "spec": {"publisher": "Test", "type": "Probed", "version": "1.0.0", "package": image},
        },
        dict(extension(name, name, publisher="Test", type="Probed", typeHandlerVersion="1")),
    ]
    for obj in objects:
        api.apply({"apiVersion": "vmext.dev/v1alpha1", **obj})


def has_goal(api: Api, name: str) -> None:
    api.wait("GoalState", name, lambda goal: goal is not None and bool(goal["spec"]["extensions"]), timeout_s=90)


def test_a_leader_is_live_and_ready_and_tells_what_it_did(operator: Operator, api: Api) -> None:
    number = port(operator)
    eventually(lambda: ask(number, "/readyz") == (200, "ok\n"))
    assert ask(number, "/livez") == (200, "ok\n")
    # Other tests' machines may be there as well.
    counted = (
        "vmext_goal_latency_seconds_count",
        'vmext_machines{reachability="unknown"}',
        'vmext_extensions{state="Creating"}',
        'vmext_api_requests_total{code="201",kind="goalstates",verb="POST"}',
    )
    before = {name: value(number, name) for name in counted}
    declare(api, "web-1")
    has_goal(api, "web-1")
    for name in counted:
        eventually(lambda name=name: value(number, name) >= before[name] + 1, name)  # type: ignore[misc]
    assert value(number, "vmext_leader") == 1
    text = ask(number, "/metrics")[1]
    assert api.namespace not in text
    assert '"web-1"' not in text
    assert ask(number, "/elsewhere")[0] == 404


def test_what_is_served_is_documented_and_what_is_documented_is_served(operator: Operator, api: Api) -> None:
    number = port(operator)
    declare(api, "web-1")
    has_goal(api, "web-1")
    served = set(re.findall(r"^# TYPE (vmext_\w+)", ask(number, "/metrics")[1], re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    documented = set(re.findall(r"^\| `(vmext_\w+)", DOCS.read_text(), re.MULTILINE))
    assert served == documented


def test_a_standby_is_ready_while_it_can_read_the_lease_and_live_even_if_not(
    operator: Operator, cluster: control_plane.Cluster, between: Proxy, tmp_path: Path
) -> None:
    eventually(lambda: ask(port(operator), "/readyz")[0] == 200)
    standby = Operator(
        tmp_path / operator_kubeconfig(tmp_path), tmp_path / "standby.log", "--probe-address=127.0.0.1:0"
    )
    standby.start()
    with contextlib.closing(contextlib.ExitStack()) as closing:
        closing.callback(standby.stop)
        number = port(standby)
        eventually(lambda: ask(number, "/readyz") == (200, "ok\n"))
        assert "\nvmext_leader 0.0\n" in ask(number, "/metrics")[1]
        between.faults = Faults(dropped=1.0)
        eventually(lambda: ask(number, "/readyz")[0] == 503, timeout_s=40)
        assert "the Lease was not read for" in ask(number, "/readyz")[1]
        assert ask(number, "/livez") == (200, "ok\n")


def operator_kubeconfig(folder: Path) -> str:
    return next(folder.glob("*.kubeconfig")).name


def test_a_watch_that_hangs_is_found_and_ends_the_process_with_the_reason(
    operator: Operator, api: Api, between: Proxy
) -> None:
    declare(api, "web-1")
    has_goal(api, "web-1")
    before = operator.pid
    between.faults = Faults(hanging=True)
    # The list finds it: what is declared is done, and then whoever does not hear of it ends.
    declare(api, "web-2")
    has_goal(api, "web-2")
    eventually(lambda: operator.pid != before, timeout_s=60)
    said = [line for line in operator.log.read_text().splitlines() if "hangs: a list had changes" in line]
    assert said, operator.log.read_text()[-2000:]
    between.faults = proxy.NONE
    # Its next life serves at another port.
    eventually(lambda: ask(port(operator), "/readyz")[0] == 200, despite=(requests.ConnectionError,))


def test_nothing_to_tell_is_no_watch_that_hangs(operator: Operator, api: Api) -> None:
    declare(api, "web-1")
    has_goal(api, "web-1")
    number, before = port(operator), operator.pid

    def lists() -> float:
        found = re.search(
            r'vmext_api_requests_total\{code="200",kind="goalstates",verb="GET"\} (\d+)', ask(number, "/metrics")[1]
        )
        return float(found[1]) if found else 0.0

    first = lists()
    eventually(lambda: lists() >= first + 3, timeout_s=60)
    assert operator.pid == before
    assert ask(number, "/livez") == (200, "ok\n")


def test_every_line_of_its_log_is_json_and_says_which_machine_it_is_about(
    operator: Operator, api: Api, between: Proxy
) -> None:
    canary = "canary-in-the-mine"
    between.faults = Faults(code=0.05, dropped=0.05)
    for number in range(5):
        declare(api, f"web-{number}")
        api.apply(
            extension(
                f"web-{number}",
                f"web-{number}",
                publisher="Test",
                type="Probed",
                typeHandlerVersion="1",
                settings={"x": canary},
            )
        )
    for number in range(5):
        has_goal(api, f"web-{number}")
    between.faults = proxy.NONE
    eventually(lambda: "reconcile failed" in operator.log.read_text() or "goal written" in operator.log.read_text())
    operator.stop()
    text = operator.log.read_text()
    assert canary not in text
    lines = [json.loads(line) for line in text.splitlines()]
    about = [line for line in lines if line["message"].startswith(("goal written", "reconcile failed", "event not"))]
    # Other tests' machines may be there as well.
    assert {f"{api.namespace}/web-{number}" for number in range(5)} <= {line["vm"] for line in about}
