"""A folder tree as an agent makes one, in which the packed CustomScript handler is driven by its commands."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import packages

SOURCE = Path(__file__).resolve().parents[2] / "extensions" / "CustomScript"
NAME = "VMExt.CustomScript"
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True)
class Certificate:
    """A machine's certificate and key, as PEM files."""

    certificate: Path
    key: Path
    thumbprint: str

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        if not shutil.which("openssl"):
            pytest.skip("no openssl on PATH: the handler decrypts protected settings with it")
        certificate, key = folder / "machine.crt", folder / "machine.prv"
        request = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=machine"]
        subprocess.run([*request, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        fingerprint = ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha1"]
        said = subprocess.run(fingerprint, check=True, capture_output=True, text=True).stdout
        return cls(certificate, key, said.strip().rpartition("=")[2].replace(":", ""))

    def encrypt(self, plain: bytes, command: str = "cms") -> str:
        """Encrypt as an operator does; `command` is cms or smime."""
        arguments = [*f"openssl {command} -encrypt -binary -aes256 -outform DER".split(), str(self.certificate)]
        return base64.b64encode(subprocess.run(arguments, input=plain, check=True, capture_output=True).stdout).decode()


@dataclass(frozen=True)
class Outcome:
    """What an enable came to."""

    code: int
    state: str
    message: str


class Machine:
    """A machine with the handler unpacked on it; `root` stands for its root folder."""

    def __init__(self, root: Path) -> None:
        self.lib = root / "lib"
        self.install = self.lib / f"{NAME}-2.1.0"
        self.logs = root / "log" / NAME
        self.path = os.environ["PATH"]
        built = packages.build(SOURCE, root / "packages", "http://localhost")
        with zipfile.ZipFile(built.zip_path) as archive:
            archive.extractall(self.install)
        for path in self.install.rglob("*"):
            path.chmod(path.stat().st_mode | 0o100)
        for folder in ("config", "status"):
            (self.install / folder).mkdir(mode=0o700)
        self.logs.mkdir(parents=True)
        folders = {
            "logFolder": str(self.logs),
            "configFolder": str(self.install / "config"),
            "statusFolder": str(self.install / "status"),
            "heartbeatFile": str(self.install / "heartbeat.log"),
        }
        environment = [{"name": NAME, "version": 1.0, "handlerEnvironment": folders}]
        (self.install / "HandlerEnvironment.json").write_text(json.dumps(environment))

    @property
    def log(self) -> str:
        return (self.logs / "CustomScript.log").read_text()

    def download_folder(self, number: int) -> Path:
        return self.lib / "custom-script" / "download" / str(number)

    def take(self, certificate: Certificate) -> None:
        """Put a certificate where agents put them."""
        for path, suffix in ((certificate.certificate, "crt"), (certificate.key, "prv")):
            (self.lib / f"{certificate.thumbprint}.{suffix}").write_bytes(path.read_bytes())

    def write_settings(
        self, number: int, public: object = None, protected: str | None = None, thumbprint: str | None = None
    ) -> None:
        settings = {
            "publicSettings": public,
            "protectedSettings": protected,
            "protectedSettingsCertThumbprint": thumbprint,
        }
        document = {"runtimeSettings": [{"handlerSettings": settings}]}
        (self.install / "config" / f"{number}.settings").write_text(json.dumps(document))

    def status(self, number: int) -> dict[str, Any]:
        document = json.loads((self.install / "status" / f"{number}.status").read_text())
        assert len(document) == 1
        status: dict[str, Any] = document[0]["status"]
        return status

    def start(
        self, command: str, number: int | None = None, variables: Mapping[str, str] | None = None, prefix: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start a command of the manifest as an agent does: by sh, in a session of its own, output to files."""
        manifest = json.loads((self.install / "HandlerManifest.json").read_text())[0]["handlerManifest"]
        environment = {"PATH": self.path, "HOME": "/root", "LANG": "C.UTF-8", **(variables or {})}
        if number is not None:
            environment["ConfigSequenceNumber"] = str(number)
        with (self.logs / "out").open("ab") as out, (self.logs / "err").open("ab") as err:
            return subprocess.Popen(
                ["/bin/sh", "-c", f"{prefix}{self.install}/{manifest[command + 'Command']}"],
                cwd=self.install,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @contextmanager
    def enabling(self, number: int, prefix: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """Have an enable run, and end it and its group at the end of the block."""
        process = self.start("enable", number, prefix=prefix)
        try:
            yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(DEADLINE_SECONDS)

    def run(self, command: str, number: int | None = None, **options: Any) -> int:
        return self.start(command, number, **options).wait(DEADLINE_SECONDS)

    def enable(self, number: int, public: object = None, **options: Any) -> Outcome:
        """Write public settings, unless there are settings already, run enable and read the status."""
        if public is not None:
            self.write_settings(number, public)
        code = self.run("enable", number, **options)
        status = self.status(number)
        return Outcome(code, status["status"], status["formattedMessage"]["message"])

    def said(self) -> str:
        """Return what the commands printed to standard error."""
        return (self.logs / "err").read_text()


def group_is_gone(group: int) -> bool:
    """Tell whether no living process of a group is left."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, process_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            return False
    return True
