"""The agent's configuration: one JSON file, by default /etc/vmext/agent.json.

======================  =========  ==========================================================================
key                     default    meaning
======================  =========  ==========================================================================
``server``                         address of the API server, ``https://host[:port]``
``caFile``                         certificates that sign for it; no others are trusted
``tokenFile``                      the agent's token; read again when it changes
``namespace``                      of the GoalState
``name``                           of the VirtualMachine
``goalState``                      name of the GoalState, which belongs to one enrolment
``uid``                 ``""``     of the VirtualMachine that the machine was enrolled as
``anchorUID``           ``""``     of the Secret that it was enrolled for; with both, its certificate is proposed
``proxy``               {}         ``http_proxy``, ``https_proxy``, ``no_proxy`` for downloads, for nothing else
``root``                ``/``      what all paths of the machine are under
``reportDelaySeconds``     1       how long a state that is not final may be held back, for a final one to come
``reportEverySeconds``     10      least time between two reports of an extension in which only text changed
``retryFirstSeconds``      1       first wait before a failed download is tried again; it doubles
``retryLimitSeconds``      300     longest such wait
``killAfterSeconds``       30      time between SIGTERM and SIGKILL
``connectSeconds``         10      time-out of a connection for a download
``stallSeconds``           30      longest time without a byte of a download
``packageLockSeconds``     600     how long a package manager at work is waited for before a command; 0: not at all
``cloudInitSeconds``       0       how long cloud-init is waited for after the agent's start; 0: not at all
``commandSeconds``         {}      time-outs by command (``install``, ``update``, ``disable``: 900, ``uninstall``: 300)
======================  =========  ==========================================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files
from vmext_agent.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/etc/vmext/agent.json"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_COMMAND_SECONDS = {"install": 900.0, "update": 900.0, "disable": 900.0, "uninstall": 300.0}
_LIMIT = 1 << 20


class Config(NamedTuple):
    """What the file says; the module lists the keys."""

    path: str
    host: str
    port: int
    ca_file: str
    token_file: str
    namespace: str
    name: str
    goal_state: str
    uid: str
    anchor_uid: str
    proxy: Mapping[str, str]
    root: str
    report_delay_s: float
    report_every_s: float
    report_times_s: float
    retry_first_s: float
    retry_limit_s: float
    kill_after_s: float
    connect_s: float
    stall_s: float
    package_lock_s: float
    wait_for_cloud_init_s: float
    command_s: Mapping[str, float]


def load(path: str) -> Config:
    """Read the configuration. Raises ConfigurationError, which names the file and the key."""
    try:
        document = json.loads(files.read(path, _LIMIT))
    except FileNotFoundError:
        raise ConfigurationError(path, "does not exist; write it, or name another with --config") from None
    except OSError as error:
        raise ConfigurationError(path, f"can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(path, f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(path, "is not a JSON object")
    return _Reader(path, document).config()


class _Reader:
    __slots__ = ("document", "path")

    def __init__(self, path: str, document: dict[str, object]) -> None:
        self.path = path
        self.document = document

    def config(self) -> Config:
        host, port = self.server()
        return Config(
            path=self.path,
            host=host,
            port=port,
            ca_file=self.file("caFile"),
            token_file=self.file("tokenFile"),
            namespace=self.name("namespace"),
            name=self.name("name"),
            goal_state=self.name("goalState"),
            uid=self.optional("uid"),
            anchor_uid=self.optional("anchorUID"),
            proxy=self.proxy(),
            root=self.file("root", "/"),
            report_delay_s=self.seconds("reportDelaySeconds", 1.0),
            report_every_s=self.seconds("reportEverySeconds", 10.0),
            report_times_s=self.seconds("reportTimesSeconds", 600.0),
            retry_first_s=self.seconds("retryFirstSeconds", 1.0),
            retry_limit_s=self.seconds("retryLimitSeconds", 300.0),
            kill_after_s=self.seconds("killAfterSeconds", 30.0),
            connect_s=self.seconds("connectSeconds", 10.0),
            stall_s=self.seconds("stallSeconds", 30.0),
            package_lock_s=self.seconds("packageLockSeconds", 600.0),
            wait_for_cloud_init_s=self.seconds("cloudInitSeconds", 0.0),
            command_s=self.command_seconds(),
        )

    def bad(self, key: str, why: str) -> ConfigurationError:
        return ConfigurationError(self.path, f"{key} {why}")

    def string(self, key: str, default: str | None = None) -> str:
        value = self.document.get(key, default)
        if value is None:
            raise self.bad(key, "is missing")
        if not isinstance(value, str) or not value:
            raise self.bad(key, "is not a string, or empty")
        return value

    def optional(self, key: str) -> str:
        return self.string(key) if key in self.document else ""

    def file(self, key: str, default: str | None = None) -> str:
        value = self.string(key, default)
        if not value.startswith("/") or "\0" in value:
            raise self.bad(key, "is not an absolute path")
        return value

    def name(self, key: str) -> str:
        value = self.string(key)
        if len(value) > 253 or not all(letter.isascii() and (letter.isalnum() or letter in "-.") for letter in value):
            raise self.bad(key, f"is {value!r}, which is no name of a Kubernetes object")
        return value

    def server(self) -> tuple[str, int]:
        value = self.string("server")
        scheme, separator, rest = value.partition("://")
        host, _, port = rest.rstrip("/").rpartition(":") if not rest.rstrip("/").endswith("]") else (rest, "", "443")
        if not host:
            host, port = port, "443"
        if scheme != "https" or not separator or not host or "/" in host or not port.isdecimal():
            raise self.bad("server", f"is {value!r}; it must be https://host:port")
        if not 0 < int(port) < 65536:
            raise self.bad("server", f"has the port {port}, which does not exist")
        return host.strip("[]/"), int(port)

    def seconds(self, key: str, default: float) -> float:
        return self.number(key, self.document.get(key, default))

    def number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise self.bad(key, "is not a number of seconds")
        return float(value)

    def object(self, key: str) -> dict[str, object]:
        value = self.document.get(key, {})
        if not isinstance(value, dict):
            raise self.bad(key, "is not an object")
        return value

    def proxy(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for key, value in self.object("proxy").items():
            if key not in _PROXIES or not isinstance(value, str):
                raise self.bad(f"proxy.{key}", f"is not a string, or none of {', '.join(_PROXIES)}")
            found[key] = value
        return found

    def command_seconds(self) -> Mapping[str, float]:
        found = dict(_COMMAND_SECONDS)
        for key, value in self.object("commandSeconds").items():
            if key not in found:
                raise self.bad(f"commandSeconds.{key}", f"is none of {', '.join(found)}")
            found[key] = self.number(f"commandSeconds.{key}", value)
        return found
