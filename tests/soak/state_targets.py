"""The files that an agent leaves to the next one, by name: whatever is in them, that one starts and knows its way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from soak import samples
from soak.target import Target, of_json, put


def record() -> Target:
    """The record of an extension: what is read is what would be written."""
    from vmext_agent import records

    def feed(data: bytes, folder: str) -> None:
        found = records.load(data, "one")
        written = records.dump(found)
        assert records.dump(records.load(written, "one")) == written, "a record does not survive"

    return of_json(feed, (ValueError,), samples.records())


def move() -> Target:
    """The record of a change of version."""
    from vmext_agent import records

    def feed(data: bytes, folder: str) -> None:
        found = records.load_move(data, samples.HANDLER)
        written = records.dump(found)
        assert records.dump(records.load_move(written, samples.HANDLER)) == written, "a move does not survive"

    return of_json(feed, (ValueError,), samples.moves())


def state_files() -> Target:
    """All state files at once, at the agent's start: whatever is in them, it starts and can make a plan."""
    from vmext_agent import files, goal_state, plan
    from vmext_agent.disk import Store
    from vmext_agent.handler import Handler
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log

    log = Log(None)
    wanted = goal_state.parse(samples.goal_states()[0])
    entry = wanted.entries[0]._replace(handler=samples.HANDLER)
    goal = wanted._replace(entries=(entry,))
    manifest = json.dumps(samples.manifests()[0]).encode()

    def feed(data: bytes, folder: str) -> None:
        layout = Layout(folder)
        handler = Handler(layout, samples.HANDLER, "1.2.3")
        for path in (f"{handler.folder}/config", layout.extensions, layout.moves):
            files.make_folder(path, 0o700)
        put(f"{handler.folder}/HandlerManifest.json", manifest)
        for name in ("HandlerState", "one.HandlerState", "9.settings"):
            put(f"{handler.folder}/config/{name}", data[:64] if name == "HandlerState" else data)
        put(f"{handler.folder}/.vmext-package", data[:64])
        put(layout.record("one"), data)
        put(layout.move(samples.HANDLER), data)
        try:
            store = Store(layout, "boot-1", log)
            store.load()
            list(plan.plan(goal, store.disk))
        finally:
            for path in (layout.extensions, layout.moves):
                files.remove(path)

    trees = [*samples.records(), *samples.moves()]
    states = (b"Enabled", b"Installed\n", b"NotInstalled", b"FailedUpgrade", b"enabled")
    return of_json(feed, (), trees, more=states)


def installation() -> Target:
    """What a machine was when it was enrolled: whatever is in the file, it is the same machine, a copy, or unknown."""
    from vmext_agent import files, installation, same_machine
    from vmext_agent.layout import Layout

    facts = {"productUUID": "4c4c4544-0042-3510-8052-b4c04f564433", "machineID": "3d1219c7c4c5404aaa1f6d2a48adfda4"}
    whole = {"id": "1", "uid": "2", "anchorUID": "3", "machine": "default/web-1", "facts": facts, "yielded": "x"}

    def feed(data: bytes, folder: str) -> None:
        layout = Layout(folder)
        files.make_folder(layout.own, 0o700)
        put(layout.installation, data)
        checked = installation.check(layout, facts)
        noted = checked.installation
        assert noted is not None, "a file that is there is as good as none"
        if noted.id or noted.facts:
            installation.save(layout, noted)
            assert installation.load(layout) == noted, "an installation does not survive"
            known = same_machine.complete(noted.facts, facts)
            assert set(facts) <= set(known), "a fact is lost"

    return of_json(feed, (), [whole])


def command() -> Target:
    """What is left of a command of an earlier agent: ``step.json``, ``start`` and ``exit``."""
    from vmext_agent import commands, files, transcript
    from vmext_agent.errors import CommandLostError

    def feed(data: bytes, folder: str) -> None:
        files.make_folder(f"{folder}/command", 0o700)
        for name in ("step.json", "start", "exit"):
            put(f"{folder}/command/{name}", data if name == "step.json" else data[:256])
        found = commands.find(f"{folder}/command")
        # The same is asked of every start record, whatever command it is beside.
        some = found or commands.Found({}, 1, "boot-1", "true", 1.0)
        try:
            running = commands.resume(f"{folder}/command", some, "boot-1")
            if running is not None:
                running._close()
        except CommandLostError:
            pass
        if found is not None:
            _check_purpose(found.purpose, transcript)

    return of_json(feed, (), samples.commands(), more=(b"1234 5678 boot-1\n", b"0  ", b"137", b"99999999 1 boot-1"))


def _check_purpose(purpose: Any, transcript: Any) -> None:
    step = transcript.step_of(purpose)
    assert isinstance(transcript.until_of(purpose), float), "a time is no number"
    assert isinstance(transcript.settings_of(purpose), str), "a digest is no text"
    if step is not None:
        kinds = [type(part) for part in step.key]
        assert kinds == [str, str, int, str], "the key of a step has parts of other types"
        texts = all(isinstance(part, str) for pair in step.variables.items() for part in pair)
        assert texts, "a variable of a step is no text"


MAKERS: dict[str, Callable[[], Target]] = {
    maker.__name__: maker for maker in (record, move, state_files, installation, command)
}
