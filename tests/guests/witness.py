"""Scenarios on a guest with a handler that writes down what it saw; each has a handler of its own on one machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guests.agent_machine import Machine, eventually, manifest, zipped

SOURCE = Path(__file__).resolve().parents[1] / "handlers" / "witness" / "handler"
#: What every command has in its environment, whatever it is.
ALWAYS = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/var/lib/vmext/empty",
    "AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS": "127.0.0.1",
    "AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES": '[{"Key": "ExtensionTelemetryPipeline", "Value": "1.0"}]',
}
#: What the shell itself adds.
_SHELL = ("PWD", "OLDPWD", "SHLVL", "_")
_SHORT = {
    "ConfigSequenceNumber": "seq",
    "ConfigExtensionName": "name",
    "VERSION": "VERSION",
    "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION": "FROM",
    "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE": "DISABLE",
    "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS": "DISABLES",
    "AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "UNINSTALL",
}


@dataclass(frozen=True)
class Want:
    """An extension is wanted; `again` gives it a new sequence number."""

    version: str = "1.0.0"
    name: str = "one"
    mark: str = "a"
    again: bool = True
    state: str = "enabled"
    depends_on: tuple[str, ...] = ()
    #: Of the package: fields of its manifest.
    manifest: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = "Succeeded"
    reason: str | None = None


@dataclass(frozen=True)
class Remove:
    """An extension is given up."""

    name: str = "one"
    state: str = "uninstall"
    outcome: str = "Removed"
    reason: str | None = None


@dataclass(frozen=True)
class Does:
    """From now on a version's command does this: ``exit 3``, for example."""

    version: str
    command: str
    script: str


@dataclass(frozen=True)
class Reboot:
    """The machine boots again; so many extensions are enabled again."""

    enables: int = 1


Action = Want | Remove | Does | Reboot


@dataclass(frozen=True)
class Scenario:
    """What is done, one after the other; a list is wanted all at once."""

    title: str
    actions: Sequence[Action | Sequence[Want]]
    multi: bool = False


class Stage:
    """One scenario being played."""

    def __init__(self, machine: Machine, handler: str, *, multi: bool) -> None:
        self.machine = machine
        self.handler = handler
        self.multi = multi
        self._first = 1

    def play(self, scenario: Scenario) -> list[str]:
        """Do all of it, wait for the end of each, and return the trace."""
        for action in scenario.actions:
            self.play_one(action)
        return [*self.trace(), self._at_rest()]

    def play_one(self, action: Action | Sequence[Want]) -> None:
        """Do one thing, and wait for its end."""
        match action:
            case Does():
                path = f"/etc/witness/{self.handler}/{action.version}/{action.command}"
                self.machine.guest.write(path, action.script.encode(), mode=0o644)
            case Remove():
                self.machine.entries[self.key(action.name)]["state"] = action.state
                self.machine.apply()
                self.check(self.key(action.name), action.outcome, action.reason)
            case Reboot():
                wanted = len(self._lines()) + action.enables
                self.machine.guest.reboot()
                eventually(lambda: len(self._lines()) >= wanted)
            case Want():
                self.play_one([action])
            case _:
                for want in action:
                    self.want(want)
                self.machine.apply()
                for want in action:
                    self.check(self.key(want.name), want.outcome, want.reason)

    def key(self, name: str) -> str:
        """Return the extension's name on the machine, which it shares with other scenarios."""
        return f"{self.handler.lower().replace('test.', '')}-{name}"

    def want(self, want: Want) -> None:
        """Put an entry into the goal."""
        fields = dict(want.manifest)
        if self.multi:
            fields["supportsMultipleExtensions"] = fields.get("supportsMultipleExtensions", True)
        content = zipped({"HandlerManifest.json": manifest(**fields), "handler": SOURCE.read_bytes()})
        name = self.key(want.name)
        known = self.machine.entries.get(name)
        if want.again or known is None:
            self.machine.last += 1
        number = self.machine.last if want.again or known is None else known["sequenceNumber"]
        described: dict[str, Any] = {
            "name": self.handler,
            "version": want.version,
            "package": self.machine.package(content, f"{self.handler}-{want.version}.zip"),
        }
        if self.multi:
            described["multiConfig"] = True
        self.machine.entries[name] = {
            "name": name,
            "uid": f"uid-{name}",
            "state": want.state,
            "sequenceNumber": number,
            "settings": json.dumps({"mark": want.mark}),
            "timeoutSeconds": 60,
            "handler": described,
            **({"dependsOn": [self.key(other) for other in want.depends_on]} if want.depends_on else {}),
        }

    def check(self, name: str, outcome: str, reason: str | None) -> None:
        """Wait for an entry's end."""
        self.machine.wait(lambda one: (one["outcome"], one.get("reason")) == (outcome, reason), name)

    def _lines(self) -> list[str]:
        try:
            return self.machine.guest.read(f"/var/log/witness/{self.handler}.trace").decode().splitlines()
        except FileNotFoundError:
            return []

    def _at_rest(self) -> str:
        """Return what is left when all is done; what was set aside has to be gone."""
        script = SOURCE.read_text()
        look = script[script.index("look() {") : script.index("before=$(look)")]
        names = f"handler={self.handler}; shared=/var/lib/shared/{self.handler}\n"
        eventually(lambda: not self._aside())
        shown = self.machine.guest.run(["sh", "-c", f"{names}{look}look; true"]).stdout.decode()
        return self._count_from(f"at rest:{shown}", self._first)

    def _aside(self) -> list[str]:
        names = self.machine.guest.run(["ls", "-a", "/var/lib/waagent"]).stdout.decode().split()
        return [name for name in names if name.startswith(f".aside-{self.handler}-")]

    def trace(self) -> list[str]:
        """Return what was written down, a line for each command, with numbers counted from the scenario's first."""
        lines = self._lines()
        dumped = self.machine.guest.run(
            ["sh", "-c", f'cd /var/log/witness/{self.handler}; for n in $(ls | sort -n); do echo "[$n]"; cat $n; done']
        ).stdout.decode()
        environments = _environments(dumped)
        self._first = min((int(one["ConfigSequenceNumber"]) for one in environments), default=1)
        return [
            self._line(line, environment, self._first) for line, environment in zip(lines, environments, strict=True)
        ]

    def _line(self, line: str, environment: dict[str, str], first: int) -> str:
        what, folder, before, after = line.split("|")
        version = what.split()[0]
        for key, value in ALWAYS.items():
            assert environment.pop(key) == value, f"{key} of {what}"
        install = f"/var/lib/waagent/{self.handler}-{version}"
        assert environment.pop("AZURE_GUEST_AGENT_EXTENSION_PATH") == install
        assert environment.pop("AZURE_GUEST_AGENT_EXTENSION_VERSION") == version
        assert f"/var/lib/waagent/{folder}" == install, f"{what} ran in {folder}"
        shown = []
        for key, short in _SHORT.items():
            if key in environment:
                shown.append(f"{short}={environment.pop(key)}")
        assert not environment, f"{what} has {environment} in its environment"
        changed = "=" if before == after else f"->{after}"
        text = f"{what} [{' '.join(shown)}]{before} {changed}"
        return self._count_from(text, first)

    def _count_from(self, text: str, first: int) -> str:
        """Return a line with the machine's sequence numbers counted from 1, and short names of extensions."""
        for number in range(self.machine.last, first - 1, -1):
            own = str(number - first + 1)
            for form in (f"seq={number} ", f"seq={number}]", f"mrseq={number}", f" {number}.", f".{number}.s"):
                text = text.replace(form, form.replace(str(number), own))
        return text.replace(self.key(""), "")


def _environments(dumped: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for line in dumped.splitlines():
        if line.startswith("[") and line.endswith(".env]"):
            found.append({})
        else:
            key, _, value = line.partition("=")
            if key not in _SHELL:
                found[-1][key] = value
    return found
