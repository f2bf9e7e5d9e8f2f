"""Random lives of a machine, and what holds in every one of them: for ``test_plan_properties`` and the soak."""

from __future__ import annotations

import random
from typing import NamedTuple

from hypothesis import strategies as st

from unit.agent import goals
from unit.agent.model import Machine
from vmext_agent import hold, plan, records, steps
from vmext_agent.goal_state import Entry, Goal, Key
from vmext_agent.records import Folder

VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
#: Extensions by handler: the last one takes several.
HANDLERS = {"one": "Test.One", "two": "Test.Two", "m1": "Test.Many", "m2": "Test.Many"}
DEPENDS = {"two": ("one",), "m2": ("m1", "two")}


class Wish(NamedTuple):
    """What is wanted of one extension, and whether it is to run again."""

    state: str
    version: str
    again: bool


class Turn(NamedTuple):
    """A new goal, what happens while it is worked on, and how far that gets before the next one comes.

    With `lasts` the next one comes while a command runs.
    """

    wishes: dict[str, Wish]
    fails: dict[str, int]
    says: dict[str, str]
    reboots: bool
    steps: int | None
    lasts: bool


_WISH = st.builds(
    Wish,
    st.sampled_from(["enabled", "enabled", "enabled", "enabled", "uninstall", "orphan"]),
    st.sampled_from(VERSIONS),
    st.booleans(),
)
_COMMANDS = [f"{kind} {version}" for kind in steps.COMMANDS for version in VERSIONS]
_TURN = st.builds(
    Turn,
    st.dictionaries(st.sampled_from(sorted(HANDLERS)), _WISH, max_size=4),
    st.dictionaries(st.sampled_from(_COMMANDS), st.sampled_from([1, 7, 56, 1011]), max_size=4),
    st.dictionaries(st.sampled_from(VERSIONS), st.sampled_from(["Failed", "Running"]), max_size=1),
    st.booleans(),
    st.one_of(st.none(), st.none(), st.integers(0, 12)),
    st.booleans(),
)
_MANIFEST = st.tuples(st.booleans(), st.booleans()).map(lambda flags: Folder(records.NOT_INSTALLED, *flags))
LIVES = st.tuples(
    st.fixed_dictionaries(dict.fromkeys(VERSIONS, _MANIFEST)),
    st.lists(_TURN, min_size=1, max_size=6),
    st.integers(0, 2**32),
)


def live(manifests: dict[str, Folder], turns: list[Turn], seed: int) -> None:
    """Live through some turns; AssertionError where something does not hold."""
    machine = Watched(manifests, random.Random(seed))
    number = 0
    entries: dict[str, Entry] = {}
    for generation, turn in enumerate(turns, 1):
        number = _wish(turn, entries, number)
        if turn.reboots:
            machine.reboot()
        machine.fails, machine.says = turn.fails, turn.says
        machine.take(goals.goal(*entries.values(), generation=generation, last=number))
        if turn.steps is None:
            machine.rest()
            machine.check_rest()
        else:
            machine.done = []
            for _ in range(turn.steps):
                machine.step()
            if turn.lasts:
                machine.step(lasts=True)


def _wish(turn: Turn, entries: dict[str, Entry], number: int) -> int:
    """Change the entries of a goal as an operator would; return the highest sequence number."""
    many = next((wish.version for name, wish in sorted(turn.wishes.items()) if name.startswith("m")), "1.0.0")
    for name in HANDLERS:
        wish, before = turn.wishes.get(name), entries.get(name)
        version = before.version if before is not None and wish is None else (wish.version if wish else "")
        if name.startswith("m"):
            # A machine runs one version of one handler.
            version = many if turn.wishes.keys() & {"m1", "m2"} else version
        if wish is None and before is None:
            continue
        state = wish.state if wish is not None else (before.key.state if before is not None else "enabled")
        fresh = before is None or (before.key.state != "enabled" and state == "enabled")
        if fresh or (wish is not None and wish.again):
            number += 1
        uid = f"uid-{number}" if fresh or before is None else before.key.uid
        own = number if fresh or (wish is not None and wish.again) or before is None else before.key.sequence_number
        entries[name] = goals.entry(
            name,
            state=state,
            number=own,
            version=version,
            uid=uid,
            handler=HANDLERS[name],
            depends_on=DEPENDS.get(name, ()),
            multi_config=name.startswith("m"),
        )
    return number


class Watched(Machine):
    """A machine whose every step is looked at."""

    def __init__(self, manifests: dict[str, Folder], draw: random.Random) -> None:
        super().__init__(manifests=manifests, draw=draw)
        #: By extension: the last enable that returned 0, and was neither disabled nor followed by one that failed.
        self._enabled: dict[str, Key] = {}
        #: By handler: the same, as it was when the change of its version began.
        self._before: dict[str, dict[str, Key]] = {}

    def do(self, step: steps.Step, entry: Entry) -> None:
        if step.kind == steps.DOWNLOAD:
            # Which handler takes several extensions is the package's to say.
            several = entry.handler == "Test.Many"
            made = self.manifests[step.version]._replace(multi_config=several)
            self.manifests = {**self.manifests, step.version: made}
        if step.kind == steps.BEGIN and step.handler not in self.moves:
            own = {name: key for name, key in self._enabled.items() if HANDLERS[name] == step.handler}
            self._before[step.handler] = own
        if step.kind == steps.FORGET:
            self._enabled.pop(step.extension, None)
        move = self.moves.get(step.handler)
        super().do(step, entry)
        if step.kind == steps.RETURN and move is not None:
            self._check_return(move)
        if step.kind == steps.FORGET and step.key.state == "uninstall":
            self._check_claim(step)

    def run(self, step: steps.Step, *, is_cancelled: bool = False) -> None:
        super().run(step, is_cancelled=is_cancelled)
        code = self.trace[-1].code
        if step.kind == steps.ENABLE and code == 0:
            self._enabled[step.extension] = step.key
        elif (step.kind == steps.DISABLE and code == 0) or (step.kind == steps.ENABLE and not is_cancelled):
            self._enabled.pop(step.extension, None)
        self._check_command(step)

    def _check_claim(self, step: steps.Step) -> None:
        """A removal says that the handler is uninstalled where it is gone, and else who keeps it."""
        verdict, is_there = self.records[step.extension].verdict, bool(self.handlers.get(step.handler))
        assert verdict is not None
        assert bool(verdict.kept_by) == (verdict.reason == "HandlerKept") == is_there, f"{verdict} is not what happened"

    def _check_return(self, move: records.Move) -> None:
        """What was enabled before a change that is taken back is enabled again, with its own number."""
        for name, key in self._before.pop(move.handler).items():
            entry = self.goal.entry(name)
            leaves = entry is None or entry.key.state != "enabled"
            if leaves or f"back {steps.INSTALL}" in move.lost or f"back {steps.ENABLE} {name}" in move.lost:
                continue
            enabled = self.records[name].enabled
            assert enabled is not None, f"{name} is not enabled again with {key}"
            found = (enabled.uid, enabled.version, enabled.sequence_number)
            assert found == (key.uid, key.version, key.sequence_number), f"{enabled} is enabled, and {key} was"

    def step(self, *, lasts: bool = False) -> bool:
        found = list(plan.plan(self.goal, self.disk))
        for name in {step.extension for step in found if not step.back}:
            self._check_begin(name, [step for step in found if step.extension == name and not step.back])
        went_on = super().step(lasts=lasts)
        for handler, folders in self.handlers.items():
            enabled = [version for version, folder in folders.items() if folder.state == records.ENABLED]
            assert len(enabled) <= 1, f"{enabled} of {handler} are enabled at once"
        return went_on

    def _check_begin(self, name: str, found: list[steps.Step]) -> None:
        """No dependant is begun before what it depends on has succeeded."""
        entry, record = self.goal.entry(name), self.records.get(name)
        if entry is None or entry.key.state != "enabled" or (record is not None and record.key == entry.key):
            return
        if entry.handler in self.moves or not any(step.key == entry.key for step in found):
            return
        for other_name in entry.depends_on:
            other = self.records.get(other_name)
            wanted = self.goal.entry(other_name)
            assert other is not None, f"{name} begins before {other_name}"
            assert wanted is not None
            assert other.key == wanted.key, f"{name} begins before {other_name} of this goal"
            assert other.is_enabled, f"{name} begins before {other_name} is enabled"
            assert self.outcomes[other_name] == "Succeeded", f"{name} begins before {other_name} has succeeded"

    def _check_command(self, step: steps.Step) -> None:
        wanted = [one for one in self.goal.entries if one.handler == step.handler]
        if step.kind == steps.UNINSTALL:
            leaving = any(one.key.state == "uninstall" for one in wanted)
            assert leaving or step.handler in self.moves, f"{step} uninstalls what nobody gave up"
        for ran in reversed(self.trace[:-1]):
            if (ran.goal, ran.boot) != (self.goals, self.boot):
                break
            if step.back and ran.changes != self.changes:
                # Two changes of version can end at the same version.
                continue
            if step.kind == steps.ENABLE and ran.step.handler == step.handler and ran.step.kind == steps.DISABLE:
                # What was enabled at boot, and disabled for an update that failed, is enabled again.
                break
            assert ran.step != step or ran.code == 56, f"{step} runs twice for one goal and boot"

    def check_rest(self) -> None:
        """At rest the machine is at the goal, or says of each extension why it is not."""
        for entry in self.goal.entries:
            record, move = self.records.get(entry.name), self.moves.get(entry.handler)
            held = hold.why(entry, self.goal, self.disk)
            if entry.name in self.retried or held is not None:
                continue
            if record is not None and record.key == entry.key and record.verdict is not None:
                self._check_verdict(entry, record)
                continue
            if any(one.name in self.retried for one in self.goal.entries if one.handler == entry.handler):
                continue
            assert entry.key.state == "enabled", f"{entry} has neither ended nor failed"
            assert record is not None, f"{entry} was forgotten"
            assert record.is_enabled, f"{entry} is neither enabled nor failed"
            assert self.disk.in_force(entry.handler) == entry.version
            if move is not None:
                running = [one.name for one in self.goal.entries if self.outcomes.get(one.name) == "Running"]
                held_back = [one for one in self.goal.entries if hold.why(one, self.goal, self.disk) is not None]
                assert running or held_back, f"{move} was not settled"

    def _check_verdict(self, entry: Entry, record: records.Record) -> None:
        verdict = record.verdict
        assert verdict is not None
        if entry.key.state == "orphan":
            return
        if entry.key.state == "uninstall":
            others = [one for one in self.goal.entries if one.handler == entry.handler and one.name != entry.name]
            gone = not self.handlers.get(entry.handler) and not self.aside.get(entry.handler)
            assert verdict.outcome == "Failed" or others or gone, f"{entry} has left something"
            return
        assert verdict.outcome == "Failed", f"{entry} ended as {verdict}"
        assert verdict.reason
        if verdict.failed_version and verdict.reason != "RollbackFailed":
            assert self.disk.in_force(entry.handler), f"nothing is in force of {entry.handler}"


__all__ = ["LIVES", "Goal", "live"]
