"""Packages that can't be had or used: a clear reason, nothing unpacked, and recovery where waiting can help."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import HANDLER, Machine, manifest, tracer_zip, zipped

FOLDER = f"/var/lib/waagent/{HANDLER}-1.0.0"
FAST = {"retryFirstSeconds": 0.2, "retryLimitSeconds": 0.5, "connectSeconds": 2, "stallSeconds": 0.5}


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent=FAST) as running:
        yield running


@pytest.fixture
def patient(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent={**FAST, "retryFirstSeconds": 300}) as running:
        yield running


@contextlib.contextmanager
def server_that_stalls(head: bytes) -> Iterator[str]:
    """Answer with these bytes and then with nothing; the connection stays open."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    held.append(connection)
                    connection.recv(65536)
                    connection.sendall(head)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def test_a_dead_address_is_named_and_the_next_one_used(machine: Machine) -> None:
    package = machine.package(tracer_zip())
    machine.want(package={**package, "urls": ["http://127.0.0.1:1/dead.zip", *package["urls"]]})

    machine.ends("Succeeded")


def test_a_package_that_appears_later_is_found_without_anybodys_doing(machine: Machine) -> None:
    package = machine.package(tracer_zip())
    url = f"{machine.url}/later.zip?signature=secret"
    machine.want(package={**package, "urls": ["http://127.0.0.1:1/dead.zip", url]})

    status = machine.ends("Failed")
    assert status["reason"] == "DownloadFailed"
    assert "http://127.0.0.1:1/dead.zip" in status["message"]
    assert "later.zip: the server answered 404" in status["message"]
    assert "tried again" in status["message"]
    assert "secret" not in json.dumps(machine.state()["status"]) + machine.log()
    assert status["handlerStatus"]["code"] == 1001

    machine.package(tracer_zip(), "later.zip")
    machine.ends("Succeeded")
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]


def test_another_address_in_the_goal_does_not_wait_for_the_next_try(patient: Machine) -> None:
    package = patient.package(tracer_zip())
    patient.want(package={**package, "urls": ["http://127.0.0.1:1/dead.zip"]})
    patient.ends("Failed")

    patient.want(package=package, same_number=True)

    patient.ends("Succeeded", timeout_s=10)


@pytest.mark.parametrize("cut", ["slow", "short", "long"])
def test_a_download_that_stalls_or_has_another_size_fails(machine: Machine, cut: str) -> None:
    content = tracer_zip()
    package = machine.package(content)
    heads = {
        "slow": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content[:100], "timed out"),
        "short": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + content[:9], "ended after 9 of"),
        "long": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + content + b"x" * 9999, "is larger than"),
    }
    head, why = heads[cut]
    with server_that_stalls(head) as url:
        machine.want(package={**package, "urls": [f"{url}/p.zip"]})

        status = machine.ends("Failed")

    assert status["reason"] == "DownloadFailed"
    assert why in status["message"]
    assert machine.order() == []


def test_a_package_with_another_checksum_is_never_opened(machine: Machine) -> None:
    package = machine.package(tracer_zip())
    machine.want(package={**package, "sha256": "0" * 64})

    status = machine.ends("Failed")

    assert status["reason"] == "ChecksumMismatch"
    assert "0" * 64 in status["message"]
    assert package["sha256"] in status["message"]
    assert not machine.guest.exists(FOLDER)


def bomb() -> bytes:
    return zipped({"HandlerManifest.json": manifest(), "zeros": bytes(64 << 20)})


def with_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("HandlerManifest.json", manifest())
    return buffer.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "not a zip": (lambda: b"<html>", "zip"),
    "nothing but a zip's end": (lambda: tracer_zip()[-60:], "zip"),
    "leads out": (
        lambda: zipped({"../../etc/cron.d/x": b"", "HandlerManifest.json": manifest()}),
        "../../etc/cron.d/x",
    ),
    "absolute": (lambda: zipped({"/etc/cron.d/x": b"", "HandlerManifest.json": manifest()}), "/etc/cron.d/x"),
    "link": (with_link, "'link'"),
    "bomb": (bomb, "'zeros'"),
    "no manifest": (lambda: zipped({"handler": b""}), "HandlerManifest.json not found"),
    "not JSON": (lambda: zipped({"HandlerManifest.json": b"{"}), "Malformed manifest file"),
    "not an array": (lambda: zipped({"HandlerManifest.json": b"{}"}), "not a JSON array"),
    "no command": (lambda: zipped({"HandlerManifest.json": manifest(enableCommand=None)}), "enableCommand is missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_package_that_is_no_handler_fails_for_good_and_leaves_nothing(machine: Machine, name: str) -> None:
    make, words = BAD[name]
    machine.want(package=machine.package(make(), "bad.zip"))

    status = machine.ends("Failed")

    assert status["reason"] == "PackageInvalid"
    assert words in status["message"]
    assert "tried again" not in status["message"]
    left = machine.guest.run(["ls", "-A", "/var/lib/waagent"]).stdout.decode().split()
    assert left == []
    assert not machine.guest.exists("/etc/cron.d/x")

    machine.want(package=machine.package(tracer_zip(), "good.zip"))
    machine.ends("Succeeded")


def test_a_full_disk_is_reported_and_recovers_when_there_is_room(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    with agent_machine.running(cluster, api, tmp_path, agent=FAST, disk_bytes=8 << 20) as machine:
        machine.want("before", handler="Test.Before")
        machine.ends("Succeeded", "before")
        machine.guest.run(["sh", "-c", "cat /dev/zero > /var/fill"], check=False)

        machine.want()
        status = machine.ends("Failed")
        assert status["reason"] == "DiskFull"
        assert machine.status("before")["outcome"] == "Succeeded"

        machine.guest.run(["rm", "/var/fill"])
        machine.ends("Succeeded")
        assert machine.order().count("1.0.0 install 2") == 1


def test_a_disk_that_fills_up_while_a_command_runs_loses_no_result(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    with agent_machine.running(cluster, api, tmp_path, agent=FAST, disk_bytes=8 << 20) as machine:
        machine.does("enable", "cat /dev/zero > /var/fill 2> /dev/null; exit 7")
        machine.want()

        status = machine.ends("Failed")
        assert status["reason"] in ("DiskFull", "EnableFailed")

        machine.guest.run(["rm", "/var/fill"])
        status = machine.wait(lambda one: one.get("reason") == "EnableFailed")
        assert "Non-zero exit code: 7" in status["message"]
        assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]
