"""A life of one extension with an agent that is killed, or a machine that loses its power, all the time.

Install, an update, one that fails and goes back, a command that is cancelled, a removal. What was really run is read
from what the handler wrote down itself: each command once, none left out; and where the power failed, that which it
interrupted again.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from guests.agent_machine import Machine, eventually
from guests.witness import Does, Remove, Stage, Want
from simulated_guest import GuestError
from vmext_agent.inotify import Inotify

UPDATED = Want(version="1.1.0", mark="b")
#: Every command of the life, in its order, with the number of the goal that it is for.
COMMANDS = [
    *("1.0.0 install 1", "1.0.0 enable 1"),
    *("1.0.0 disable 2", "1.1.0 update 2", "1.0.0 uninstall 2", "1.1.0 install 2", "1.1.0 enable 2"),
    *("1.1.0 disable 3", "1.2.0 update 3", "1.1.0 uninstall 3", "1.2.0 install 3", "1.2.0 uninstall 3"),
    *("1.1.0 install 2", "1.1.0 enable 2"),
    *("1.1.0 enable 4", "1.1.0 enable 5"),
    *("1.1.0 disable 5", "1.1.0 uninstall 5"),
]
PATIENCE_S = 60.0
#: An agent needs some time from its start to its first report: killed more often than that, it never gets there.
_LONGEST_S = (0.7, 1.0, 2.0)
#: A life takes about this long; where the power fails so often in each, no command is cut off more than twice.
LIFE_S, CUTS = 1.5, 2


def prepare(machine: Machine, handler: str) -> None:
    """Have the handler do what its life is about to be."""
    stage = Stage(machine, handler, multi=False)
    hangs = f'[ "$number" != {machine.last + 4} ] || {{ sleep 1000; exit 9; }}'
    stage.play_one(Does("1.1.0", "enable", hangs))
    stage.play_one(Does("1.2.0", "install", "(exit 7)"))


def live(machine: Machine, handler: str) -> None:
    """Live through it once."""
    stage = Stage(machine, handler, multi=False)
    first = machine.last
    stage.play_one(Want())
    stage.play_one(UPDATED)
    stage.play_one(Want(version="1.2.0", mark="c", outcome="Failed", reason="InstallFailed"))
    stage.want(UPDATED)
    machine.apply()
    eventually(lambda: f"1.1.0 enable {first + 4}" in began(machine, handler, 0), timeout_s=PATIENCE_S)
    stage.play_one(UPDATED)
    stage.play_one(Remove())
    machine.entries.pop(stage.key("one"))
    machine.apply()


def began(machine: Machine, handler: str, first: int) -> list[str]:
    """Return every command that began, as the handler wrote it down; numbers count from `first`."""
    try:
        lines = machine.guest.read(f"/var/log/witness/{handler}.began").decode().splitlines()
    except FileNotFoundError:
        return []
    parts = [line.split() for line in lines]
    return [f"{version} {command} {int(number) - first}" for version, command, number in parts]


def check(machine: Machine, handler: str, first: int) -> None:
    """See that each command was run once, in order, and that nothing is left; AssertionError otherwise."""
    found = began(machine, handler, first)
    assert found == COMMANDS, f"not every command was run once, in its order: {found}"
    check_left(machine, handler)


def check_left(machine: Machine, handler: str) -> None:
    """See that nothing is left of a handler; AssertionError otherwise."""
    left = machine.guest.run(["ls", "-a", "/var/lib/waagent"]).stdout.decode().split()
    assert not [name for name in left if handler in name], left


def check_repeated(machine: Machine, handler: str, first: int, cuts: int) -> None:
    """See that each command was run, in order, and no more of them again than the power failed."""
    found = began(machine, handler, first)
    done = repeats = 0
    for line in found:
        enabled = [one for one in COMMANDS[:done] if " enable " in one]
        if done < len(COMMANDS) and line == COMMANDS[done]:
            done += 1
        else:
            # What was cut off; or what is enabled, as at every boot.
            assert line in (COMMANDS[max(0, done - 1)], *enabled[-1:]), f"{line}, number {done} of {found}"
            repeats += 1
    assert done == len(COMMANDS), f"{COMMANDS[done:]} were left out: {found}"
    assert repeats <= cuts, f"{repeats} were run again after {cuts} cuts: {found}"
    check_left(machine, handler)


def live_at_random(machine: Machine, handler: str, killer: Killer, draw: random.Random) -> None:
    """Live through it with an agent that is killed at random moments, and see what came of it."""
    first = machine.last
    prepare(machine, handler)
    with killer.at_random(draw, draw.choice(_LONGEST_S)):
        live(machine, handler)
    check(machine, handler, first)


def live_to_record(machine: Machine, handler: str, killer: Killer, number: int) -> bool:
    """Live through it with an agent that is killed at its n-th record; return whether it came to so many."""
    first = machine.last
    prepare(machine, handler)
    with killer.at_record(number) as count:
        live(machine, handler)
    check(machine, handler, first)
    return count() >= number


def live_without_power(machine: Machine, handler: str, cutter: Killer, draw: random.Random) -> None:
    """Live through it on a machine that loses its power twice, and see what came of it."""
    first, before = machine.last, cutter.kills
    prepare(machine, handler)
    machine.guest.write("/etc/witness/durable", b"")
    machine.guest.run(["sync"])
    with cutter.at_random(draw, LIFE_S, most=CUTS):
        live(machine, handler)
    check_repeated(machine, handler, first, cutter.kills - before)


class Killer:
    """Kills the agent, parent and worker, again and again while somebody is at work."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.kills = 0

    def kill(self) -> None:
        """Kill it once; its init starts it again."""
        try:
            self._machine.guest.kill_service("agent")
            self.kills += 1
        except GuestError:
            # It is being started just now.
            return

    @contextlib.contextmanager
    def at_random(self, draw: random.Random, longest_s: float, most: int | None = None) -> Iterator[None]:
        """Kill it at random moments for as long as the block lasts, so often at most."""
        begun = self.kills

        def wait() -> bool:
            time.sleep(draw.uniform(0.0, longest_s))
            return most is None or self.kills < begun + most

        with self._meanwhile(wait):
            yield

    @contextlib.contextmanager
    def at_record(self, number: int) -> Iterator[Callable[[], int]]:
        """Kill it once, the moment that it has put its n-th record in place; give how many it has put there."""
        watch = Inotify()
        for folder in ("waagent", "vmext/extensions", "vmext/moves", "vmext/settings", "vmext/commands"):
            path = f"/var/lib/{folder}"
            eventually(partial(self._machine.guest.exists, path))
            assert watch.watch(str(self._machine.guest.path(path))), f"{path} can't be watched"
        seen = 0

        def wait() -> bool:
            nonlocal seen
            before = seen
            seen += len(watch.changed() or ())
            if before < number <= seen:
                return True
            time.sleep(0.0005)
            return False

        try:
            with self._meanwhile(wait):
                yield lambda: seen
        finally:
            watch.close()

    @contextlib.contextmanager
    def _meanwhile(self, is_time: Callable[[], bool]) -> Iterator[None]:
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                if is_time() and not over.is_set():
                    self.kill()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class PowerCutter(Killer):
    """Cuts the power of the whole machine instead; it boots again at once."""

    def kill(self) -> None:
        """Cut it once."""
        self._machine.guest.lose_power()
        self.kills += 1
