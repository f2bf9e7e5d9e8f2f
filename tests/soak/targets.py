"""Every parser of foreign bytes, by name: each is fed what the agent would feed it, and what comes of it is looked at.

The modules of a target are imported when it is made, so that the one who makes it can have them instrumented.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from soak import samples, state_targets, tree
from soak.target import Target, of_json, put

if TYPE_CHECKING:
    from vmext_agent.goal_state import Goal

_INT64 = 1 << 63


def goal_state() -> Target:
    """Lines of the API server's watch, as ``cluster`` and ``watcher`` take them."""
    from vmext_agent import cluster
    from vmext_agent.log import Log
    from vmext_agent.watcher import Watcher

    log = Log(None)
    no_client: Any = None

    def feed(data: bytes, folder: str) -> None:
        event = cluster.event(data)
        watcher = Watcher(
            no_client,
            ("", ""),
            lambda goal, _obj: _check_goal(goal, folder),
            lambda _goal: None,
            _look,
            random.Random(1),
            log,
        )
        # Of errors, it outlives those of the cluster alone.
        watcher._take(event)
        if event.is_there and data == _line({"type": "MODIFIED", "object": event.obj()}) and _is_known(event.obj()):
            head = (event.resource_version, event.uid, event.generation)
            assert head == cluster._head(event.obj()), "what was glimpsed is not what is written"

    return of_json(feed, (cluster.ClusterError,), samples.events(), render=_line)


def _is_known(obj: Any) -> bool:
    """Tell whether an object has what every object of an API server has."""
    metadata, kinds = obj.get("metadata"), {"generation": int, "resourceVersion": str, "uid": str}
    return isinstance(metadata, dict) and all(type(metadata.get(name)) is kind for name, kind in kinds.items())


def _look(_uid: str, _version: str, status: Callable[[], object]) -> None:
    status()


def _line(event: Any) -> bytes:
    """Return an event as the API server writes it: without spaces, the keys of the object by the alphabet."""
    if not isinstance(event, dict) or {*event} != {"type", "object"}:
        return tree.rendered(event) + b"\n"
    kind, obj = json.dumps(event["type"]), json.dumps(event["object"], sort_keys=True, separators=(",", ":"))
    return f'{{"type":{kind},"object":{obj}}}\n'.encode()


def last_goal() -> Target:
    """The goal that is kept on disk: whatever is in the file, there is a goal or none."""
    from vmext_agent import files, last_goal
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log

    log = Log(None)

    def feed(data: bytes, folder: str) -> None:
        layout = Layout(folder)
        files.make_folder(layout.own, 0o700)
        put(layout.goal, data)
        found = last_goal.load(layout, log)
        if found is not None:
            _check_goal(found, folder)

    return of_json(feed, (), samples.goal_states())


def _check_goal(goal: Goal, folder: str) -> None:
    from vmext_agent import handler, records
    from vmext_agent.layout import Layout

    layout = Layout(folder)
    levels = {entry.name: entry.level for entry in goal.entries}
    for entry in goal.entries:
        assert os.path.dirname(os.path.abspath(layout.handler(entry.handler, entry.version))) == layout.handlers, "path"
        assert os.path.dirname(os.path.abspath(layout.command(entry.name))) == layout.commands, "path"
        assert records.version_key(entry.version), "a version is empty"
        assert all(levels[one] < entry.level for one in entry.depends_on if one in levels), "a level is too low"
        assert 0 < entry.timeout_s < 1 << 31, "a timeout is out of range"
        json.loads(handler.settings_document(entry.settings))
        record = records.begin(None, entry, "2026-01-01T00:00:00Z")
        assert records.load(records.dump(record), entry.name) == record, "a record does not survive"


def manifest() -> Target:
    """HandlerManifest.json of a package: its commands must be such as a shell can be given."""
    from vmext_agent import manifest
    from vmext_agent.errors import ManifestError

    def feed(data: bytes, folder: str) -> None:
        found = manifest.parse(data, "p")
        for command in found.commands.values():
            _check_encodes(command, "a command can't be given to a shell")

    return of_json(feed, (ManifestError,), samples.manifests())


def status() -> Target:
    """Status files of handlers: what is reported of them is what the API server takes."""
    from vmext_agent import report, status
    from vmext_agent.errors import StatusError

    def feed(data: bytes, folder: str) -> None:
        found = status.parse(data)
        if found is None:
            return
        document: dict[str, Any] = report.fit(report._said(found), report.EXTENSION_BYTES)
        _check_text(document)
        assert report.size(document) <= report.EXTENSION_BYTES, "a status is too long"
        assert document["status"] in ("transitioning", "warning", "error", "success"), "a status is another word"
        for part in (document, *document.get("substatuses", ())):
            assert -_INT64 <= part.get("code", 0) < _INT64, "a code is out of range"

    return of_json(feed, (StatusError,), samples.statuses())


def heartbeat() -> Target:
    """Heartbeat files of handlers."""
    from vmext_agent import heartbeat
    from vmext_agent.errors import StatusError

    def feed(data: bytes, folder: str) -> None:
        found = heartbeat.parse(data)
        _check_text(found._asdict())
        assert found.status in (heartbeat.READY, heartbeat.NOT_READY), "a status is another word"
        assert -_INT64 <= found.code < _INT64, "a code is out of range"
        assert len(found.message) <= 8192, "a message is too long"

    return of_json(feed, (StatusError,), samples.heartbeats())


def policy() -> Target:
    """The policy of the machine's owner: it is understood or refused, and can be asked afterwards."""
    from vmext_agent import policy

    urls = (
        "https://a.example.org/x",
        "http://192.0.2.1:8080/x",
        "https://[2001:db8::1]/x",
        "https://[x",
        "ftp://x:99999/",
    )

    def feed(data: bytes, folder: str) -> None:
        found = policy.parse(data)
        allowed = found.allowed_urls(urls)
        why = found.forbids(samples.HANDLER, urls)
        assert allowed or why, "no address is allowed, and the handler is"
        json.dumps(why).encode()
        # Whoever may misspell it must not open a door: it is on, or off, or the file is invalid.
        assert isinstance(found.requires_signatures, bool), "whether signatures are required is no yes or no"

    return of_json(feed, (policy.PolicyError,), samples.policies())


def archive() -> Target:
    """Packages: unpacked below a folder and removed again, nothing but files and folders in it."""
    from soak import unpacking

    return Target(unpacking.feed, unpacking.EXPECTED, unpacking.samples(), max_bytes=16384)


def guest_report() -> Target:
    """What a guest writes into its GoalState, as the operator reads it: no guest takes the operator down."""
    from soak import guest_report

    # A spec that can't be read is the operator's own; the API server lets nobody else write it.
    return of_json(guest_report.feed, guest_report.EXPECTED, samples.goal_states_for_the_operator())


MAKERS: dict[str, Callable[[], Target]] = {
    **{
        maker.__name__: maker
        for maker in (goal_state, last_goal, manifest, status, heartbeat, policy, archive, guest_report)
    },
    **state_targets.MAKERS,
}


def _check_encodes(value: str, what: str) -> None:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise AssertionError(what) from None


def _check_text(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise AssertionError("a text is not fit for JSON") from None
