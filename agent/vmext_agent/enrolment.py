"""``vmext-agent enroll``, ``unenroll``, ``rotate-key`` and ``status``: what people do on the machine itself.

``enroll`` reads what ``kubectl vmext enroll`` printed: a JSON object with ``server``, ``ca`` (PEM), ``namespace``,
``name``, ``goalState``, ``uid``, ``anchorUID`` and ``token``. It comes by standard input, since arguments are
everybody's to read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from vmext_agent import cluster, config, credential, daemon, files, guest, identity, process, rotation
from vmext_agent.errors import AgentError, ConfigurationError, IdentityError
from vmext_agent.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.config import Config

_FIELDS = ("server", "ca", "namespace", "name", "goalState", "uid", "anchorUID", "token")
_LIMIT = 1 << 20
_TRIES = 4
_FOLDER = "/etc/vmext"
_CA, _TOKEN = f"{_FOLDER}/ca.crt", f"{_FOLDER}/token"


def enroll(path: str) -> int:
    """Enrol this machine; return the exit code: 2 for what can't be used, 1 where the API server does not answer."""
    try:
        settings, own = _take(path, _given(sys.stdin.buffer.read(_LIMIT)))
    except (ConfigurationError, IdentityError, OSError) as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    sys.stdout.write(f"enrolled as {settings.namespace}/{settings.name}, certificate {own.thumbprint}\n")
    _restart_worker()
    try:
        _ask(settings)
    except AgentError as error:
        sys.stderr.write(f"vmext-agent: the API server does not answer as it should: {error}\n")
        return 1
    if os.path.isdir("/run/systemd/system"):
        sys.stdout.write("now start it: systemctl enable --now vmext-agent\n")
    return 0


def _restart_worker() -> bool:
    """Have an agent that runs read its configuration anew: its worker ends, and its parent starts another.

    What the worker had running goes on. Returns whether there is one.
    """
    agent = daemon.running()
    for pid in process.numbers() if agent else ():
        if process.parent(pid) == agent:
            process.send(pid, signal.SIGTERM)
    return bool(agent)


def _ask(settings: Config) -> None:
    """Ask the API server for the goal state, as the agent will. Raises AgentError."""
    client = cluster.Cluster(settings)
    for _ in range(_TRIES - 1):
        if _has_answered(client):
            return
        time.sleep(1.0)
    client.read()


def _has_answered(client: cluster.Cluster) -> bool:
    try:
        client.read()
    except cluster.UnavailableError:
        return False
    return True


def _take(path: str, given: Mapping[str, str]) -> tuple[Config, identity.Identity]:
    """Write down who this machine is; its key is made first, so that what is written can be used."""
    known = _known(path)
    if known.get("uid", given["uid"]) != given["uid"]:
        was = f"{known.get('namespace')}/{known.get('name')}"
        raise ConfigurationError(path, f"this machine is enrolled as {was}; run vmext-agent unenroll first")
    layout = Layout(str(known.get("root", "/")))
    own = identity.load(layout) or _make(layout, given["uid"])
    identity.place(layout, own)
    for folder in (_FOLDER, os.path.dirname(path)):
        files.make_folder(folder, 0o755)
    files.write(_CA, given["ca"].encode(), 0o644)
    files.write(_TOKEN, given["token"].encode(), 0o600)
    chosen = {name: given[name] for name in ("server", "namespace", "name", "goalState", "uid", "anchorUID")}
    document = {**known, **chosen, "caFile": _CA, "tokenFile": _TOKEN}
    files.write(path, json.dumps(document, indent=1).encode(), 0o600)
    return config.load(path), own


def _make(layout: Layout, uid: str) -> identity.Identity:
    sys.stdout.write("making a key ...\n")
    sys.stdout.flush()
    return identity.make(layout, uid)


def _given(data: bytes) -> Mapping[str, str]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    where = "what was given on standard input"
    if not isinstance(document, dict):
        raise ConfigurationError(where, "is no JSON object; paste the whole of what kubectl vmext enroll prints")
    for name in _FIELDS:
        if not isinstance(document.get(name), str) or not document[name]:
            raise ConfigurationError(where, f"has no {name}; paste the whole of what kubectl vmext enroll prints")
    try:
        credential.claims(document["token"])
    except ValueError as error:
        raise ConfigurationError(where, f"has a token that can't be used: {error}") from None
    return document


def _known(path: str) -> dict[str, object]:
    """Return the configuration that is there already: what people added to it stays."""
    try:
        document = json.loads(files.read(path, _LIMIT))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(path, f"can't be read: {error}; put it right, or remove it") from None
    if not isinstance(document, dict):
        raise ConfigurationError(path, "is not a JSON object; put it right, or remove it")
    return document


def unenroll(path: str) -> int:
    """Forget who this machine is; what extensions did on it stays. Returns the exit code."""
    try:
        known = _known(path)
        layout = Layout(str(known.get("root", "/")))
        known_by = (identity.load(layout), identity.load_next(layout), *identity.load_earlier(layout))
        token = str(known.get("tokenFile", _TOKEN))
        for one in (token, layout.identity, layout.goal, path):
            files.remove(one)
        for own in known_by:
            for one in identity.placed(layout, own.thumbprint) if own is not None else ():
                files.remove(one)
    except (ConfigurationError, IdentityError, OSError) as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    sys.stdout.write("this machine is enrolled no longer; revoke it in the cluster too: kubectl vmext revoke\n")
    return 0


def rotate_key(path: str) -> int:
    """Begin to change this machine's key, or go on with it; return the exit code."""
    try:
        own, following = _rotate(path)
    except (ConfigurationError, IdentityError, OSError) as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    sys.stdout.write(f"from {own.thumbprint} to {following.thumbprint}\n")
    if _restart_worker():
        sys.stdout.write("it is proposed to the cluster now; vmext-agent status shows how far it is\n")
    else:
        sys.stdout.write("the agent does not run; it is proposed to the cluster once that is started\n")
    return 0


def _rotate(path: str) -> tuple[identity.Identity, identity.Identity]:
    """Make the next key, if there is none yet, and put it where handlers look; return both."""
    settings = config.load(path)
    layout = Layout(settings.root)
    own, following = identity.load(layout), identity.load_next(layout)
    if own is None or not settings.uid or not settings.anchor_uid:
        raise ConfigurationError(path, "this machine is not enrolled; paste what kubectl vmext enroll prints")
    if following is None:
        sys.stdout.write("making a key ...\n")
        sys.stdout.flush()
        following = identity.make_next(layout, settings.uid, own)
    identity.place(layout, following)
    return own, following


def status(path: str) -> int:
    """Print how this machine stands by its own files. Returns the exit code: 3 where it is not enrolled."""
    try:
        settings = config.load(path)
    except ConfigurationError as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 3
    lines = [f"machine:      {settings.namespace}/{settings.name} at {settings.host}:{settings.port}"]
    layout = Layout(settings.root)
    try:
        lines.extend(rotation.describe(layout))
    except (IdentityError, OSError) as error:
        lines.append(f"certificate:  {error}")
    lines.append(f"token:        {_token(settings.token_file)}")
    lines.append(f"agent:        {_agent()}")
    lines.extend(f"extension:    {line}" for line in sorted(_records(layout)))
    sys.stdout.write("\n".join([guest.version_lines().splitlines()[0], *lines]) + "\n")
    return 0


def _token(path: str) -> str:
    try:
        found = credential.claims(files.read(path, _LIMIT).decode("ascii").strip())
    except (OSError, ValueError) as error:
        return f"{path} can't be used: {error}"
    if not found.expires_at:
        return "good until it is revoked"
    left_h = (found.expires_at - time.time()) / 3600
    if left_h <= 0:
        return f"ended {-left_h:.1f} h ago; enrol the machine anew: kubectl vmext enroll"
    return f"good for {left_h / 24:.1f} days" if left_h > 48 else f"good for {left_h:.1f} h"


def _agent() -> str:
    pid = daemon.running()
    return f"runs (pid {pid})" if pid else "does not run"


def _records(layout: Layout) -> list[str]:
    from vmext_agent import records

    found = []
    try:
        names = os.listdir(layout.extensions)
    except OSError:
        return []
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            one = records.load(files.read(f"{layout.extensions}/{name}", _LIMIT), name[: -len(".json")])
        except (OSError, ValueError):
            continue
        ended = f"{one.verdict.outcome} ({one.verdict.reason})" if one.verdict is not None else ""
        state = ended or ("enabled" if one.is_enabled else "under way")
        found.append(f"{one.extension}: {one.handler} {one.key.version}, {state}")
    return found
