"""The package builder: same bytes everywhere, a catalog entry that fits the API, clear words for bad sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

import packages
from packages.source import OPTIONAL_FIELDS, REQUIRED_FIELDS
from support import objects
from support.certificates import private_pem, public_pem, publisher_key, rsa_key
from vmext_operator.api import extension_image
from vmext_operator.core import signature

ROOT = Path(__file__).resolve().parents[2]
CUSTOM_SCRIPT = ROOT / "extensions" / "CustomScript"
ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'hack'}:{ROOT / 'operator'}"}
URL = "https://packages.example.com/v1"

COMMANDS = ("installCommand", "enableCommand", "disableCommand", "uninstallCommand", "updateCommand")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a small source folder that is right."""
    folder = tmp_path / "Sample"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "run").write_text("#!/bin/sh\nexit 0\n")
    (folder / "note.txt").write_text("hello\n")
    write_manifest(folder, dict.fromkeys(COMMANDS, "bin/run"))
    write_catalog(folder, {"publisher": "Example", "type": "Sample", "version": "1.2.3"})
    return folder


def write_manifest(folder: Path, manifest: object) -> None:
    (folder / "HandlerManifest.json").write_text(json.dumps([{"handlerManifest": manifest}]))


def write_catalog(folder: Path, catalog: object) -> None:
    (folder / "extension.yaml").write_text(yaml.safe_dump(catalog))


def test_a_package_has_the_same_bytes_from_another_copy_with_other_times_modes_and_umask(tmp_path: Path) -> None:
    first = packages.build(CUSTOM_SCRIPT, tmp_path / "a", URL)
    copy = shutil.copytree(CUSTOM_SCRIPT, tmp_path / "copy")
    for number, path in enumerate(sorted(copy.rglob("*"), reverse=True)):
        os.utime(path, (number * 100_000_000, number * 100_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600 + number % 2 * 0o111)
    before = os.umask(0o077)
    try:
        second = packages.build(copy, tmp_path / "b", URL)
    finally:
        os.umask(before)
    assert first.zip_path.read_bytes() == second.zip_path.read_bytes()
    assert first.manifest_path.read_bytes() == second.manifest_path.read_bytes()


def test_another_content_makes_another_package(source: Path, tmp_path: Path) -> None:
    first = packages.build(source, tmp_path / "out", URL)
    (source / "note.txt").write_text("hellO\n")
    assert packages.build(source, tmp_path / "out", URL).sha256 != first.sha256


def test_a_zip_holds_sorted_plain_files_with_fixed_time_and_mode(source: Path, tmp_path: Path) -> None:
    (source / "bin" / "run").chmod(0o600)
    with zipfile.ZipFile(packages.build(source, tmp_path, URL).zip_path) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == ["HandlerManifest.json", "bin/run", "note.txt"]
    assert [oct(entry.external_attr >> 16) for entry in entries] == ["0o100644", "0o100755", "0o100644"]
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_what_tools_leave_behind_is_not_packed(source: Path, tmp_path: Path) -> None:
    clean = packages.build(source, tmp_path / "clean", URL)
    for name in ("bin/__pycache__/x.cpython-311.pyc", "bin/old.pyc", ".mypy_cache/y", "bin/.run.swp"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("leftover")
    assert packages.build(source, tmp_path / "used", URL).sha256 == clean.sha256


def test_the_catalog_entry_describes_the_zip(tmp_path: Path) -> None:
    built = packages.build(CUSTOM_SCRIPT, tmp_path, URL + "/")
    content = built.zip_path.read_bytes()
    assert built.zip_path.name == "VMExt.CustomScript__2.1.0.zip"
    assert built.manifest_path.name == "VMExt.CustomScript-2.1.0.yaml"
    assert yaml.safe_load(built.manifest_path.read_text()) == built.manifest
    assert built.manifest["apiVersion"] == "vmext.dev/v1alpha1"
    assert built.manifest["kind"] == "VirtualMachineExtensionImage"
    assert built.manifest["metadata"] == {"name": "vmext.customscript-2.1.0"}
    spec = built.manifest["spec"]
    assert (spec["publisher"], spec["type"], spec["version"]) == ("VMExt", "CustomScript", "2.1.0")
    assert spec["defaults"] == {"enableTimeout": "90m"}
    assert spec["package"] == {
        "urls": [f"{URL}/VMExt.CustomScript__2.1.0.zip"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
    }
    assert (built.sha256, built.size) == (spec["package"]["sha256"], spec["package"]["sizeBytes"])


def test_a_source_can_set_every_field_that_the_catalog_has_and_no_other() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "virtualmachineextensionimages.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert {*REQUIRED_FIELDS, *OPTIONAL_FIELDS} == set(spec["properties"]) - {"package"}
    assert set(REQUIRED_FIELDS) == set(spec["required"]) - {"package"}


def test_the_command_line_builds_every_extension(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "packages", "--out", str(tmp_path), "--url-base", URL],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    sources = [path.parent.name for path in (ROOT / "extensions").glob("*/HandlerManifest.json")]
    assert sources
    assert len(list(tmp_path.glob("*.zip"))) == len(list(tmp_path.glob("*.yaml"))) == len(sources)
    for path in tmp_path.glob("*.zip"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in result.stdout


def test_the_command_line_tells_what_is_wrong_and_fails(source: Path, tmp_path: Path) -> None:
    (source / "extension.yaml").unlink()
    result = subprocess.run(
        [sys.executable, "-m", "packages", str(source), "--out", str(tmp_path / "out")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("packages: ")
    assert "extension.yaml is missing" in result.stderr


def test_two_sources_of_one_package_are_refused(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "copy")
    with pytest.raises(packages.PackageError, match=r"example\.sample-1\.2\.3"):
        packages.build_all([source, copy], tmp_path / "out", URL)


def manifest_without(name: str) -> Callable[[Path], None]:
    return lambda folder: write_manifest(folder, {other: "bin/run" for other in COMMANDS if other != name})


def manifest_with(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: write_manifest(folder, {**dict.fromkeys(COMMANDS, "bin/run"), **fields})


def catalog_with(**fields: Any) -> Callable[[Path], None]:
    right = {"publisher": "Example", "type": "Sample", "version": "1.2.3"}
    return lambda folder: write_catalog(folder, {**right, **fields})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(shutil.rmtree, "is not a folder", id="no folder"),
        pytest.param(lambda f: (f / "HandlerManifest.json").unlink(), "Manifest.json is missing", id="no manifest"),
        pytest.param(lambda f: (f / "HandlerManifest.json").write_text("{"), "is not JSON", id="manifest not JSON"),
        pytest.param(lambda f: (f / "HandlerManifest.json").write_text("{}"), "is not an array", id="not an array"),
        pytest.param(lambda f: (f / "HandlerManifest.json").write_text("[{}]"), "handlerManifest", id="empty manifest"),
        *(pytest.param(manifest_without(name), f"{name} is None", id=f"without {name}") for name in COMMANDS),
        pytest.param(manifest_with(enableCommand=" "), "enableCommand is ' '", id="blank command"),
        pytest.param(manifest_with(enableCommand="bin/other -x"), "runs bin/other", id="command not in the package"),
        pytest.param(manifest_with(enableCommand="bin/run 'x"), "no command of a shell", id="open quote"),
        pytest.param(manifest_with(reportHeartbeat="true"), "reportHeartbeat is 'true'", id="switch as text"),
        pytest.param(manifest_with(updateMode=1), "updateMode is 1", id="update mode not text"),
        pytest.param(lambda f: (f / "extension.yaml").unlink(), "extension.yaml is missing", id="no catalog file"),
        pytest.param(lambda f: (f / "extension.yaml").write_text("a: ["), "is not YAML", id="catalog not YAML"),
        pytest.param(lambda f: (f / "extension.yaml").write_text("- a"), "not a mapping", id="catalog not a mapping"),
        pytest.param(catalog_with(publisher="Ex ample"), "publisher is 'Ex ample'", id="publisher with a blank"),
        pytest.param(catalog_with(type="../up"), "type is '../up'", id="type that climbs"),
        pytest.param(catalog_with(version=1.2), "version is 1.2", id="version as a number"),
        pytest.param(catalog_with(version="1.02.3"), "version is '1.02.3'", id="version with a leading zero"),
        pytest.param(catalog_with(version="v1.2.3"), "version is 'v1.2.3'", id="version with a letter"),
        pytest.param(catalog_with(versoin="1.0"), "versoin is no field", id="unknown field"),
        pytest.param(catalog_with(package={}), "package is no field", id="package set by hand"),
        pytest.param(lambda f: (f / "link").symlink_to("note.txt"), "link is neither a file nor a folder", id="link"),
        pytest.param(lambda f: os.mkfifo(f / "fifo"), "fifo is neither a file nor a folder", id="fifo"),
    ],
)
def test_a_bad_source_is_refused_with_file_and_field(
    source: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(source)
    with pytest.raises(packages.PackageError, match=re.escape(words)) as error:
        packages.build(source, tmp_path / "out", URL)
    assert str(source) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_address_that_agents_could_not_use_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(packages.PackageError, match=r"ftp://x"):
        packages.build(source, tmp_path, "ftp://x")


def test_a_package_is_signed_with_its_publishers_key(source: Path, tmp_path: Path) -> None:
    key = publisher_key()
    path = tmp_path / "key.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))

    built = packages.build(source, tmp_path / "out", URL, packages.read_key(path))

    keys = signature.parse_keys({"Example": [public_pem(key)]})
    obj = built.manifest | {"metadata": objects.meta("example.sample-1.2.3")}
    assert signature.refusal(extension_image.parse(obj), keys) == ""
    assert "signature" not in packages.build(source, tmp_path / "out", URL).manifest["spec"]["package"]


@pytest.mark.parametrize(
    ("content", "why"), [(b"no key", "can't be used"), (b"", "can't be used"), (None, "can't be used")]
)
def test_a_key_that_can_not_sign_is_said_to_be_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(packages.PackageError, match=why):
        packages.read_key(path)
    path.write_bytes(private_pem(rsa_key()))
    with pytest.raises(packages.PackageError, match="no key of Ed25519; make one: openssl genpkey"):
        packages.read_key(path)
