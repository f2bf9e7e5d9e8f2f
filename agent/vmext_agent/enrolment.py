"""What people do on the machine itself: ``vmext-agent enroll``, ``unenroll``, ``confirm``, ``rotate-key``, ``status``.

``enroll`` reads what ``kubectl vmext enroll`` printed: a JSON object with ``server``, ``ca`` (PEM), ``namespace``,
``name``, ``goalState``, ``uid``, ``anchorUID`` and ``token``. It comes by standard input, since arguments are
everybody's to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from vmext_agent import (
    cluster,
    config,
    credential,
    daemon,
    files,
    guest,
    identity,
    installation,
    machine_facts,
    predecessor,
    process,
    rotation,
    standby,
)
from vmext_agent.errors import AgentError, ConfigurationError, IdentityError
from vmext_agent.layout import Layout
from vmext_agent.predecessor import Kind, Predecessor
from vmext_agent.same_machine import Sameness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.config import Config
    from vmext_agent.installation import Check

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
    layout = Layout(str(known.get("root", "/")))
    checked = _check(layout)
    before = _before(layout, known, checked)
    kind = predecessor.decide(before, given)
    if kind is Kind.REFUSED:
        wanted = f"{given['namespace']}/{given['name']}"
        why = (
            f"this machine is enrolled as {before.machine}; to make it {wanted}: vmext-agent unenroll, then paste again"
        )
        raise ConfigurationError(path, why)
    told = predecessor.words(kind, before)
    if told:
        sys.stdout.write(f"{told}\n")
    _withdraw(path, layout)
    predecessor.make_way(layout, kind)
    own = predecessor.key(layout, kind) or _make(layout, given["uid"])
    identity.place(layout, own)
    for folder in (_FOLDER, os.path.dirname(path)):
        files.make_folder(folder, 0o755)
    files.write(_CA, given["ca"].encode(), 0o644)
    files.write(_TOKEN, given["token"].encode(), 0o600)
    chosen = {name: given[name] for name in ("server", "namespace", "name", "goalState", "uid", "anchorUID")}
    document = {**known, **chosen, "caFile": _CA, "tokenFile": _TOKEN}
    files.write(path, json.dumps(document, indent=1).encode(), 0o600)
    settings = config.load(path)
    # Who pastes it says by that which machine this is.
    kept = checked.installation.id if kind is Kind.AGAIN and checked.installation is not None else ""
    installation.save(layout, installation.make(settings, checked.found, kept))
    return settings, own


def _check(layout: Layout) -> Check:
    return installation.check(layout, machine_facts.find(layout.root))


def _before(layout: Layout, known: Mapping[str, object], checked: Check) -> Predecessor:
    """Return what is enrolled here: by the configuration, else by what was noted, else by the key that is left."""
    noted = checked.installation
    own = identity.load(layout)
    if known.get("uid"):
        machine = f"{known.get('namespace')}/{known.get('name')}"
        uid, anchor_uid = str(known["uid"]), str(known.get("anchorUID", ""))
        return Predecessor(machine, uid, anchor_uid, own is not None, checked.copy_of)
    if noted is not None and noted.uid:
        return Predecessor(noted.machine, noted.uid, noted.anchor_uid, False, checked.copy_of)
    return Predecessor() if own is None else Predecessor(uid=identity.subject(own))


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
        copy_of = _check(layout).copy_of
        _withdraw(path, layout)
        predecessor.forget_keys(layout)
        token = str(known.get("tokenFile", _TOKEN))
        for one in (token, layout.goal, layout.installation, path):
            files.remove(one)
    except (ConfigurationError, IdentityError, OSError) as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    name = known.get("name", "NAME")
    # A copy's advice must not shut out the machine that it was copied from.
    after = f"{name} itself stays enrolled" if copy_of else f"revoke it in the cluster too: kubectl vmext revoke {name}"
    sys.stdout.write(f"this machine is enrolled no longer; {after}\n")
    _restart_worker()
    return 0


def confirm(path: str) -> int:
    """Take it that this is the machine that was enrolled, whatever has changed on it; return the exit code."""
    try:
        settings, checked = _confirm(path)
    except (ConfigurationError, IdentityError, OSError) as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    changed = f": {checked.comparison.words()}" if checked.comparison.differences else ""
    sys.stdout.write(f"this machine is {settings.namespace}/{settings.name}{changed}\n")
    _restart_worker()
    return 0


def _confirm(path: str) -> tuple[Config, Check]:
    """Note this machine as the one that was enrolled; return what was known of it before."""
    settings = config.load(path)
    layout = Layout(settings.root)
    checked = _check(layout)
    if identity.load(layout) is None:
        raise ConfigurationError(path, "this machine is not enrolled; paste what kubectl vmext enroll prints")
    _withdraw(path, layout)
    kept = checked.installation.id if checked.installation is not None else ""
    installation.save(layout, installation.make(settings, checked.found, kept))
    return settings, checked


def _withdraw(path: str, layout: Layout) -> None:
    """Tell the cluster that this is a copy no longer, if it was one and can: what can't be told is forgotten there."""
    with contextlib.suppress(AgentError):
        standby.withdraw(config.load(path), layout)


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
    why = standby.reason(settings, layout, _check(layout))
    if why:
        raise ConfigurationError(path, f"{why}; {standby.advice(settings)}")
    if own is None or not settings.uid or not settings.anchor_uid:
        raise ConfigurationError(path, "this machine is not enrolled; paste what kubectl vmext enroll prints")
    if following is None:
        sys.stdout.write("making a key ...\n")
        sys.stdout.flush()
        following = identity.make_next(layout, settings.uid, own)
    identity.place(layout, following)
    return own, following


def status(path: str) -> int:
    """Print how this machine stands by its own files. Returns the exit code: 3 where not enrolled, 4 on a copy."""
    try:
        settings = config.load(path)
    except ConfigurationError as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 3
    lines = [f"machine:      {settings.namespace}/{settings.name} at {settings.host}:{settings.port}"]
    layout = Layout(settings.root)
    checked = _check(layout)
    why = standby.reason(settings, layout, checked)
    lines.extend(_standing(settings, why, checked))
    try:
        lines.extend(rotation.describe(layout))
    except (IdentityError, OSError) as error:
        lines.append(f"certificate:  {error}")
    lines.append(f"token:        {_token(settings.token_file)}")
    lines.append(f"agent:        {_agent()}")
    lines.extend(f"extension:    {line}" for line in sorted(_records(layout)))
    sys.stdout.write("\n".join([guest.version_lines().splitlines()[0], *lines]) + "\n")
    return 4 if why else 0


def _standing(settings: Config, why: str, checked: Check) -> list[str]:
    """Return whether this machine takes orders, and what has changed on it since it was enrolled."""
    if why:
        return [f"takes orders: no: {why}", f"what to do:   {standby.advice(settings)}"]
    if checked.comparison.sameness is Sameness.SAME:
        return []
    return [f"has changed:  {checked.comparison.words()}; {standby.CONFIRM}"]


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
