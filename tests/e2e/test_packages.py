"""What is wrong with a package is said in the resource, and what can recover does so by itself."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest

from development.api import Object, condition
from development.house import House, extension

HANDLER = b"#!/bin/sh\nexit 0\n"
COMMANDS = {f"{name}Command": "handler" for name in ("install", "enable", "disable", "uninstall", "update")}
MANIFEST = json.dumps([{"handlerManifest": COMMANDS}]).encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("HandlerManifest.json", MANIFEST)
        info = zipfile.ZipInfo("shadow")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/shadow")
    return buffer.getvalue()


def catalog(home: House, vm: str, content: bytes, **package: Any) -> Object:
    """Serve a package under the test's own type, enter it into the catalog, and return what was entered."""
    type_ = type_of(vm)
    (home.served / f"{type_}.zip").write_bytes(content)
    described = {
        "urls": [f"{home.url}/{type_}.zip"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
    }
    return home.api.apply(
        {
            "apiVersion": "vmext.dev/v1alpha1",
            "kind": "VirtualMachineExtensionImage",
            "metadata": {"name": f"test.{type_}-1.0.0"},
            "spec": {"publisher": "Test", "type": type_, "version": "1.0.0", "package": described | package},
        }
    )


def type_of(vm: str) -> str:
    return "e2e" + vm.replace("-", "")


def declare(home: House, vm: str) -> str:
    name = f"bad-{vm}"
    home.api.apply(extension(name, vm, publisher="Test", type=type_of(vm), typeHandlerVersion="1"))
    return name


def said(home: House, name: str, reason: str) -> str:
    found = condition(home.api.wait_stalled(name, reason), "Ready")
    assert found is not None
    return str(found["message"])


def wait_installed(home: House, name: str) -> None:
    kind = "VirtualMachineExtension"
    home.api.wait(kind, name, lambda obj: (obj or {})["status"].get("typeHandlerVersion") == "1.0.0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no zip", "zip"),
        (zipped({"HandlerManifest.json": MANIFEST, "../../etc/cron.d/evil": b"x"}), ".."),
        (zipped({"HandlerManifest.json": MANIFEST, "/etc/cron.d/evil": b"x"}), "/etc/cron.d/evil"),
        (link(), "shadow"),
        (zipped({"HandlerManifest.json": MANIFEST, "bomb": bytes(64 << 20)}), "bomb"),
        (zipped({"handler": HANDLER}), "HandlerManifest.json"),
        (zipped({"HandlerManifest.json": b"{", "handler": HANDLER}), "HandlerManifest.json"),
        (zipped({"HandlerManifest.json": b"{}", "handler": HANDLER}), "HandlerManifest.json"),
        (
            zipped({"HandlerManifest.json": json.dumps([{"handlerManifest": {}}]).encode(), "handler": HANDLER}),
            "Command",
        ),
    ],
    ids=["no-zip", "parent", "absolute", "link", "bomb", "no-manifest", "no-json", "no-array", "no-command"],
)
def test_a_package_that_must_not_be_unpacked_is_refused_and_leaves_nothing(
    home: House, vm: str, content: bytes, words: str
) -> None:
    catalog(home, vm, content)
    assert words in said(home, declare(home, vm), "PackageInvalid")
    left = home.guests[vm].run(
        ["find", "/var/lib/waagent", "/etc/cron.d", "-newer", "/etc/vmext/agent.json", "-type", "f"]
    )
    assert b"evil" not in left.stdout
    assert b"bomb" not in left.stdout


def test_a_dead_address_says_so_and_the_next_one_that_lives_is_taken(home: House, vm: str) -> None:
    good = zipped({"HandlerManifest.json": MANIFEST, "handler": HANDLER})
    dead = "http://127.0.0.1:9/gone.zip"
    catalog(home, vm, good, urls=[dead, f"{home.url}/missing.zip"])
    name = declare(home, vm)
    message = said(home, name, "DownloadFailed")
    assert dead in message
    assert "404" in message
    catalog(home, vm, good, urls=[dead, f"{home.url}/{type_of(vm)}.zip"])
    wait_installed(home, name)


def test_another_content_than_the_catalogs_is_refused_and_the_right_one_is_taken_when_it_comes(
    home: House, vm: str
) -> None:
    good = zipped({"HandlerManifest.json": MANIFEST, "handler": HANDLER})
    entry = catalog(home, vm, good)
    served = home.served / f"{type_of(vm)}.zip"
    served.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    name = declare(home, vm)
    assert entry["spec"]["package"]["sha256"] in said(home, name, "ChecksumMismatch")
    served.write_bytes(good)
    # Nobody touches anything: the agent tries again by itself.
    wait_installed(home, name)
