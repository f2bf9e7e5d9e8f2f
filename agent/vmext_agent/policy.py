"""What the machine's owner lets run there, whatever the goal says: ``/etc/vmext/policy.json``.

::

    {"version": 1,
     "handlers": {"allow": ["Publisher.Type"], "deny": []},
     "publishers": {"allow": ["Publisher"], "deny": []},
     "downloads": {"hosts": ["packages.example.com", "*.example.org", "10.0.0.7:8080"]},
     "signatures": {"require": true}}

All but the version may be left out. Names are compared without regard to case. Whoever is denied is out; where there is
any list of who is allowed, everybody else is out too. What is misspelt must not open a door: a key that is not known
makes the whole file invalid, and an invalid file lets nothing new run.

Publishers' public keys are the files of ``/etc/vmext/keys/<publisher>/``, one key of Ed25519 in PEM in each
(``signatures``).
"""

from __future__ import annotations

import json
import os
import stat
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files
from vmext_agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATH = "etc/vmext/policy.json"
KEYS = "etc/vmext/keys"
_LIMIT = 64 << 10
_LISTS = {"handlers": ("allow", "deny"), "publishers": ("allow", "deny"), "downloads": ("hosts",)}
_SWITCHES = {"signatures": ("require",)}
_PORTS = {"http": 80, "https": 443}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_IPV6 = frozenset("0123456789abcdef:.")


class PolicyError(AgentError):
    """A policy can't be used; ``path`` says where it is wrong."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}" if path else why)


class Key(NamedTuple):
    """A publisher's public key: the publisher in lower case, its file, and what tells that from one changed since."""

    publisher: str
    file: str
    stamp: int


class Policy(NamedTuple):
    """The rules, in lower case; None for a list that is not there. ``invalid`` says why none of it counts."""

    file: str = f"/{PATH}"
    allowed_handlers: frozenset[str] | None = None
    denied_handlers: frozenset[str] = frozenset()
    allowed_publishers: frozenset[str] | None = None
    denied_publishers: frozenset[str] = frozenset()
    hosts: tuple[str, ...] | None = None
    requires_signatures: bool = False
    keys: tuple[Key, ...] = ()
    invalid: str = ""

    def forbids(self, handler: str, urls: Sequence[str]) -> str:
        """Return why a handler from these addresses is not to run here; empty where it may."""
        if self.invalid:
            return f"nothing new runs on this machine: its policy {self.file} is invalid: {self.invalid}"
        name = handler.lower()
        publisher = name.rpartition(".")[0]
        if name in self.denied_handlers:
            return f"{self.file} on this machine denies {handler} (handlers.deny)"
        if publisher in self.denied_publishers:
            return f"{self.file} on this machine denies the publisher of {handler} (publishers.deny)"
        has_list = self.allowed_handlers is not None or self.allowed_publishers is not None
        listed = name in (self.allowed_handlers or ()) or publisher in (self.allowed_publishers or ())
        if has_list and not listed:
            return f"{self.file} on this machine allows some handlers and publishers, and {handler} is not of them"
        if urls and not self.allowed_urls(urls):
            hosts = ", ".join(sorted({_shown(url) for url in urls}))
            return f"{self.file} on this machine does not allow downloads of {handler} from {hosts} (downloads.hosts)"
        return ""

    def allowed_urls(self, urls: Sequence[str]) -> tuple[str, ...]:
        """Return those of some addresses that may be asked."""
        return tuple(url for url in urls if self._allows(url))

    def _allows(self, url: str) -> bool:
        if self.invalid:
            return False
        if self.hosts is None:
            return True
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            return False
        return bool(host) and any(_matches(pattern, host, port) for pattern in self.hosts)


def _matches(pattern: str, host: str, port: int) -> bool:
    name, number = _split(pattern)
    if number is not None and number != port:
        return False
    return host.endswith(name[1:]) and len(host) >= len(name) if name.startswith("*.") else host == name


def _split(pattern: str) -> tuple[str, int | None]:
    """Return host and port of a pattern; None for any port. Brackets around an IPv6 address fall away."""
    name, colon, number = pattern.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        return name.strip("[]").rstrip("."), int(number) if len(number) < 6 else 0
    return pattern.strip("[]").rstrip("."), None


def _is_host(pattern: str) -> bool:
    """Tell whether a pattern could match anything: a whole address, or a star within, never would."""
    name, number = _split(pattern)
    name = name[2:] if name.startswith("*.") else name
    known = name.count(":") > 1 and _IPV6.issuperset(name) if ":" in name else bool(name) and _NAME.issuperset(name)
    return known and (number is None or 0 < number < 1 << 16)


def _shown(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).netloc.rpartition("@")[2][:200]
    except ValueError:
        return "an address that is none"


def parse(data: bytes) -> Policy:
    """Parse a policy. Raises PolicyError."""
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PolicyError("", f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise PolicyError("", "it is not a JSON object")
    version = document.pop("version", None)
    if version != 1 or isinstance(version, bool):
        raise PolicyError("version", f"is {str(version)[:50]!r}; it must be 1")
    found: dict[str, frozenset[str] | None] = {}
    switches: dict[str, bool] = {}
    for part, rules in document.items():
        known = {**_LISTS, **_SWITCHES}.get(part)
        if known is None:
            raise PolicyError(_key(part), f"is not known; there are {', '.join((*_LISTS, *_SWITCHES))}")
        if not isinstance(rules, dict):
            raise PolicyError(part, "is not an object")
        for name, entries in rules.items():
            if name not in known:
                raise PolicyError(f"{part}.{_key(name)}", f"is not known; there are {', '.join(known)}")
            if part in _SWITCHES:
                if not isinstance(entries, bool):
                    raise PolicyError(f"{part}.{name}", "is not true or false")
                switches[f"{part}.{name}"] = entries
                continue
            if not isinstance(entries, list) or not all(isinstance(one, str) and one.strip() for one in entries):
                raise PolicyError(f"{part}.{name}", "is not a list of names")
            found[f"{part}.{name}"] = frozenset(one.strip().lower() for one in entries)
    hosts = found.get("downloads.hosts")
    for host in sorted(hosts or ()):
        if not _is_host(host):
            why = f"holds {_key(host)!r}; write example.com, *.example.com or example.com:8080"
            raise PolicyError("downloads.hosts", why)
    return Policy(
        allowed_handlers=found.get("handlers.allow"),
        denied_handlers=found.get("handlers.deny") or frozenset(),
        allowed_publishers=found.get("publishers.allow"),
        denied_publishers=found.get("publishers.deny") or frozenset(),
        hosts=None if hosts is None else tuple(sorted(hosts)),
        requires_signatures=switches.get("signatures.require", False),
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _key(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:50]


def load(root: str = "/") -> Policy:
    """Return the machine's policy: without a file, one that allows everything."""
    path = f"{root.rstrip('/')}/{PATH}"
    try:
        keys = tuple(_keys(root))
        _check_owner(os.lstat(path))
        return parse(files.read(path, _LIMIT))._replace(keys=keys)
    except FileNotFoundError:
        return Policy(keys=keys)
    except (OSError, PolicyError) as error:
        return Policy(invalid=str(error))


def _check_owner(found: os.stat_result, what: str = "it") -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PolicyError(what, "is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise PolicyError(what, f"belongs to user {found.st_uid}; give it to root")
    if found.st_mode & 0o022:
        raise PolicyError(what, "is open to its group or others, who may write it; chmod it to 0644")


def _keys(root: str) -> Iterator[Key]:
    """Yield the publishers' keys. Raises OSError, PolicyError for one that others than root could have put there."""
    for publisher in _entries(f"{root.rstrip('/')}/{KEYS}"):
        for file in _entries(publisher.path):
            found = os.lstat(file.path)
            _check_owner(found, file.path)
            yield Key(publisher.name.lower(), file.path, found.st_ctime_ns)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


class Watch:
    """The machine's policy as it is now: read again when its file has changed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._path = f"{root.rstrip('/')}/{PATH}"
        self._seen: tuple[object, ...] = ()
        self._policy = Policy()

    def current(self) -> Policy:
        """Return it; the same value as before while nothing has changed."""
        try:
            found = os.lstat(self._path)
            # The time of change sees to what keeps size and time of writing, and to owner and mode.
            seen: tuple[object, ...] = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError as error:
            seen = (error.errno or 0,)
        try:
            seen = (*seen, *_keys(self._root))
        except (OSError, PolicyError) as error:
            seen = (*seen, str(error))
        # What can't be read now may be readable in a moment, and be the same file.
        if seen != self._seen or self._policy.invalid:
            self._seen = seen
            loaded = load(self._root)
            if loaded != self._policy:
                self._policy = loaded
        return self._policy
