"""A handler's folders and files, exactly as extension packages expect them (contract, A0 to A2, 2 and 3)."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, manifest, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Settings
    from vmext_agent.layout import Layout
    from vmext_agent.manifest import Manifest
    from vmext_agent.records import HandlerStatus

_MANIFEST_LIMIT = 1 << 20
_MRSEQ_LIMIT = 1 << 20
_SETTINGS_FILE = re.compile(r"(?:[a-z0-9.-]{1,80}\.)?([0-9]{1,18})\.settings")
_STATE_FILE = ".HandlerState"
#: In an install folder: the sha256 of the package that it came from.
_PACKAGE = ".vmext-package"

#: What a command gets of an environment besides its own variables: nothing of the agent's can leak into it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIXED = {
    "PATH": PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS": "127.0.0.1",
    "AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES": '[{"Key": "ExtensionTelemetryPipeline", "Value": "1.0"}]',
}


class Handler:
    """One version of a handler on disk.

    An extension's name counts only where the handler takes several: then it is part of the names of its files.
    """

    __slots__ = ("aside", "folder", "layout", "log_folder", "name", "version")

    def __init__(self, layout: Layout, name: str, version: str) -> None:
        self.layout = layout
        self.name = name
        self.version = version
        self.folder = layout.handler(name, version)
        self.aside = layout.aside(name, version)
        self.log_folder = layout.handler_log(name)

    @property
    def log_prefix(self) -> str:
        """Return what its lines in the agent's log begin with."""
        return f"[{self.name}-{self.version}]"

    @property
    def status_folder(self) -> str:
        """Return where the handler puts its status files."""
        return f"{self.folder}/status"

    def status_file(self, sequence_number: int, extension: str = "") -> str:
        """Return the status file of a sequence number."""
        return f"{self.status_folder}/{_prefix(extension)}{sequence_number}.status"

    def make(self) -> None:
        """Make what a handler finds beside its own files before any of its commands runs. Raises OSError."""
        files.make_folder(f"{self.folder}/config", 0o700)
        files.make_folder(self.status_folder, 0o700)
        files.make_folder(self.layout.logs, 0o755)
        files.make_folder(self.log_folder, 0o755)
        files.make_folder(f"{self.log_folder}/events", 0o700)
        files.make_folder(self.layout.empty, 0o755)
        events = f"{self.log_folder}/events"
        environment = [
            {
                "name": self.name,
                "version": 1.0,
                # Some handlers read this with string functions: logFolder has to be the first, the form json.dumps'.
                "handlerEnvironment": {
                    "logFolder": self.log_folder,
                    "configFolder": f"{self.folder}/config",
                    "statusFolder": self.status_folder,
                    "heartbeatFile": f"{self.folder}/heartbeat.log",
                    "eventsFolder": events,
                    "eventsFolder_preview": events,
                },
            }
        ]
        path = f"{self.folder}/HandlerEnvironment.json"
        files.write(path, json.dumps(environment).encode(), 0o644, durable=False)

    def settings_file(self, sequence_number: int, extension: str = "") -> str:
        """Return the settings file of a sequence number."""
        return f"{self.folder}/config/{_prefix(extension)}{sequence_number}.settings"

    def write_settings(self, sequence_number: int, document: bytes, extension: str = "") -> None:
        """Write the settings file of a sequence number (``settings_document``). Raises OSError."""
        files.write(self.settings_file(sequence_number, extension), document, 0o600, durable=False)

    def highest_number(self) -> int:
        """Return the highest sequence number of a settings file, 0 where there is none."""
        try:
            names = os.listdir(f"{self.folder}/config")
        except OSError:
            return 0
        return max((int(found[1]) for found in map(_SETTINGS_FILE.fullmatch, names) if found), default=0)

    def enabled_extensions(self) -> frozenset[str]:
        """Return the extensions that are enabled in a handler that takes several."""
        found = set()
        try:
            for name in os.listdir(f"{self.folder}/config"):
                state = files.read(f"{self.folder}/config/{name}", 64) if name.endswith(_STATE_FILE) else b""
                if state.strip() == b"enabled":
                    found.add(name[: -len(_STATE_FILE)])
        except OSError:
            return frozenset(found)
        return frozenset(found)

    def write_extension_state(self, extension: str, *, enabled: bool) -> None:
        """Record whether an extension of several is enabled (contract, A1). Raises OSError."""
        path = f"{self.folder}/config/{extension}{_STATE_FILE}"
        files.write(path, b"enabled" if enabled else b"disabled", 0o600)

    def remove_extension(self, extension: str) -> None:
        """Remove the files of an extension of several. Raises OSError."""
        own = re.compile(re.escape(extension) + r"\.(?:[0-9]+\.(?:settings|status)|HandlerState)")
        for folder in ("config", "status"):
            for name in os.listdir(f"{self.folder}/{folder}"):
                if own.fullmatch(name):
                    files.remove(f"{self.folder}/{folder}/{name}")

    def package(self) -> str:
        """Return the sha256 of the package that it was unpacked from, empty where nobody knows."""
        try:
            return files.read(f"{self.folder}/{_PACKAGE}", 64).decode("ascii", "replace")
        except OSError:
            return ""

    def note_package(self, sha256: str) -> None:
        """Note which package it was unpacked from. Raises OSError."""
        files.write(f"{self.folder}/{_PACKAGE}", sha256.encode(), 0o600, durable=False)

    def state(self) -> str:
        """Return the recorded state of the handler; what is none of the contract's counts as not installed."""
        try:
            state = files.read(f"{self.folder}/config/HandlerState", 64).decode("ascii", "replace").strip()
        except OSError:
            return records.NOT_INSTALLED
        return state if state in records.STATES else records.NOT_INSTALLED

    def write_state(self, state: str) -> None:
        """Record the state of the handler. Raises OSError."""
        files.write(f"{self.folder}/config/HandlerState", state.encode(), 0o600)

    def write_status(self, status: HandlerStatus, *, multi_config: bool) -> None:
        """Write what the agent says of the handler, for people and tools on the machine. Raises OSError."""
        document = {
            "name": self.name,
            "version": self.version,
            "status": status.status,
            "code": status.code,
            "message": status.message,
            "supports_multi_config": multi_config,
            "extension_status": None,
        }
        path = f"{self.folder}/config/HandlerStatus"
        files.write(path, json.dumps(document).encode(), 0o600, durable=False)

    def manifest(self) -> Manifest:
        """Read the manifest, anew each time as in the contract. Raises ManifestError, OSError."""
        path = f"{self.folder}/{manifest.FILE}"
        return manifest.parse(files.read(path, _MANIFEST_LIMIT), path)

    def command_line(self, command: str) -> str:
        """Return what the shell is given for a command of the manifest (contract, 4)."""
        return f"{self.folder}/{command.lstrip('/')}"

    def environment(self, sequence_number: int, variables: Mapping[str, str], extension: str = "") -> dict[str, str]:
        """Return the whole environment of a command."""
        made = {
            **_FIXED,
            "PYTHONPATH": self.layout.empty,
            "AZURE_GUEST_AGENT_EXTENSION_PATH": self.folder,
            "AZURE_GUEST_AGENT_EXTENSION_VERSION": self.version,
            "ConfigSequenceNumber": str(sequence_number),
            **variables,
        }
        return {**made, "ConfigExtensionName": extension} if extension else made

    def carry_from(self, old: Handler) -> None:
        """Copy the old version's ``mrseq``: the numbers that were run already. Raises OSError."""
        try:
            content = files.read(f"{old.folder}/mrseq", _MRSEQ_LIMIT)
        except FileNotFoundError:
            return
        files.write(f"{self.folder}/mrseq", content, 0o600)

    def set_aside(self) -> None:
        """Put the install folder out of the way, where no handler looks. Raises OSError."""
        if os.path.isdir(self.folder):
            files.remove(self.aside)
            os.rename(self.folder, self.aside)
            files.sync_folder(self.layout.handlers)

    def restore(self) -> None:
        """Put the install folder back to the very path that it had. Raises OSError."""
        if os.path.isdir(self.aside):
            self.remove()
            os.rename(self.aside, self.folder)
            files.sync_folder(self.layout.handlers)

    def remove(self, *, aside: bool = False) -> None:
        """Remove the install folder, or what was set aside of it. Raises OSError."""
        # Renamed first: a folder half removed must not look like an installed handler.
        condemned = f"{self.layout.handlers}/.removed-{self.name}-{self.version}"
        files.remove(condemned)
        try:
            os.rename(self.aside if aside else self.folder, condemned)
        except FileNotFoundError:
            return
        files.sync_folder(self.layout.handlers)
        files.remove(condemned)


def settings_document(settings: Settings) -> bytes:
    """Return the content of a settings file (contract, A1): its three keys are always there."""
    document = {
        "runtimeSettings": [
            {
                "handlerSettings": {
                    "publicSettings": json.loads(settings.public),
                    "protectedSettings": settings.protected or None,
                    "protectedSettingsCertThumbprint": settings.thumbprint or None,
                }
            }
        ]
    }
    return json.dumps(document).encode()


def _prefix(extension: str) -> str:
    return f"{extension}." if extension else ""
