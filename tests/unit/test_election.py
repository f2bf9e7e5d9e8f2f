"""Who leads: the rules over a Lease, and a crowd of candidates that live by them."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace

import pytest

from vmext_operator.cluster.term import Term
from vmext_operator.core import election
from vmext_operator.core.election import LEASE_S, RENEW_DEADLINE_S, RETRY_S, Record, Sighting
from vmext_operator.errors import LeaseLostError

OTHERS = Record("other", 10, 3, "t0", "t1")
MINE = Record("me", 10, 3, "t0", "t1")


@pytest.mark.parametrize(
    ("record", "since", "expected"),
    [
        pytest.param(None, 100.0, 0.0, id="there is none"),
        pytest.param(OTHERS, 100.0, 10.0, id="another's, just seen"),
        pytest.param(OTHERS, 94.0, 4.0, id="another's, seen for a while"),
        pytest.param(OTHERS, 80.0, 0.0, id="another's, that nobody renews"),
        pytest.param(MINE, 100.0, 0.0, id="my own"),
        pytest.param(election.released(OTHERS), 100.0, 0.0, id="let go"),
        pytest.param(Record("", 10, 3, "", ""), 100.0, 10.0, id="a human took the name out: its leader may not know"),
        pytest.param(Record("", 0, 0, "", ""), 100.0, 10.0, id="a human took everything out"),
        pytest.param(Record("other", 1, 3, "", ""), 100.0, 10.0, id="a human made it short"),
        pytest.param(Record("other", 99_999, 3, "", ""), 100.0, 60.0, id="a human made it long"),
    ],
)
def test_when_a_lease_may_be_taken(record: Record | None, since: float, expected: float) -> None:
    assert election.wait_s(Sighting(record, since), "me", 100.0) == expected


def test_a_lease_counts_from_when_it_was_first_seen_as_it_is() -> None:
    first = election.see(None, OTHERS, 1.0)
    assert election.see(first, OTHERS, 5.0) == Sighting(OTHERS, 1.0)
    renewed = Record("other", 10, 3, "t0", "t2")
    assert election.see(first, renewed, 5.0) == Sighting(renewed, 5.0)
    put_back = replace(OTHERS, version="7")
    assert election.see(first, put_back, 5.0) == Sighting(put_back, 5.0)


def test_a_lease_that_was_deleted_counts_from_when_it_was_missed() -> None:
    missed = election.see(Sighting(OTHERS, 1.0), None, 5.0)
    assert missed == Sighting(OTHERS, 5.0, is_gone=True)
    assert election.see(missed, None, 9.0) == missed
    assert election.wait_s(missed, "me", 9.0) == 6.0
    assert election.see(missed, OTHERS, 9.0) == Sighting(OTHERS, 9.0)
    assert election.see(None, None, 5.0) == Sighting(None, 5.0)


def test_what_is_written_comes_back_as_it_was() -> None:
    for record in (MINE, election.released(MINE), election.taken(None, "me", "now")):
        assert election.parse({"spec": election.render(record)}) == record
    assert election.parse({}) == Record("", 0, 0, "", "")


def test_a_transition_is_counted_when_the_holder_changes() -> None:
    assert election.taken(OTHERS, "me", "now") == Record("me", 10, 4, "now", "now")
    assert election.taken(MINE, "me", "now") == Record("me", 10, 3, "t0", "now")
    assert election.taken(election.released(OTHERS), "me", "now").transitions == 4


def test_a_term_ends_at_the_first_look_after_a_stop() -> None:
    now = [1000.0]
    term = Term(lambda: now[0])
    with pytest.raises(LeaseLostError, match="does not lead"):
        term.check("PATCH /x")
    term.renew(now[0])
    now[0] += 2.5
    assert term.check("PATCH /x") == LEASE_S - 2.5
    now[0] += 86_400
    with pytest.raises(LeaseLostError, match=r"PATCH /x is not sent: the Lease was renewed 86402\.5 s ago"):
        term.check("PATCH /x")
    term.renew(now[0])
    term.check("PATCH /x")
    term.end()
    with pytest.raises(LeaseLostError):
        term.check("PATCH /x")


@dataclass
class Server:
    """A Lease with a resourceVersion."""

    record: Record | None = None
    version: int = 0

    def write(self, record: Record | None, version: int) -> bool:
        if version != self.version:
            return False
        self.version += 1
        self.record = record if record is None else replace(record, version=str(self.version))
        return True


@dataclass
class Candidate:
    """A process with a clock of its own: another beginning, and up to a tenth faster or slower than the others'."""

    name: str
    offset: float
    rate: float
    wakes: float = 0.0
    seen: Sighting | None = None
    renewed: float | None = None
    #: From when to when it may have had a write land, by the clock of the world.
    spans: list[tuple[float, float]] = field(default_factory=list)

    def clock(self, world: float) -> float:
        return self.offset + world * self.rate

    def begin_again(self, now: float) -> None:
        # Who comes after a Lease was deleted can't know that there was one: here each has seen one.
        self.renewed, self.seen = None, Sighting(OTHERS, now)

    def step(self, server: Server, world: float, draw: random.Random) -> None:
        now = self.clock(world)
        if self.renewed is not None and now - self.renewed >= RENEW_DEADLINE_S:
            self.begin_again(now)
        record, version = server.record, server.version
        self.seen = election.see(self.seen, record, now)
        wait_s = election.wait_s(self.seen, self.name, now)
        pause = RETRY_S
        if wait_s > 0:
            pause, self.renewed = min(pause, wait_s), None
        elif server.write(election.taken(record, self.name, f"{now}"), version):
            self.renewed = now
            self.spans.append((world, world + LEASE_S / self.rate))
            if draw.random() < 0.05:
                # It lets go: its last span ends with what it had under way.
                server.write(election.released(server.record), server.version)  # type: ignore[arg-type]
                self.begin_again(now)
                pause = draw.uniform(5, 30)
                self.spans[-1] = (self.spans[-1][0], world)
                self.spans = [(begin, min(end, world)) for begin, end in self.spans]
        if draw.random() < 0.05:
            pause += draw.choice((4, 7, 12, 40))  # it is stopped, and goes on as if nothing were
        self.wakes = world + pause / self.rate


@pytest.mark.parametrize("seed", range(10))
def test_of_a_crowd_no_two_may_write_at_once(seed: int) -> None:
    draw = random.Random(seed)
    server = Server()
    # A clock that is slower by more than what the deadline leaves of the Lease is none to elect by.
    crowd = [Candidate(name, draw.uniform(0, 1e6), draw.uniform(0.95, 1.05)) for name in "abc"]
    world, human = 0.0, 50.0
    # Once: a second deletion can't be told from the first by whoever slept in between.
    deletion = draw.uniform(500, 4000)
    while world < 5000:
        one = min(crowd, key=lambda one: one.wakes)
        world = one.wakes
        if world > human:
            human = world + draw.uniform(20, 60)
            touched = draw.choice(
                [Record("nobody", 10, 0, "", ""), Record("", 10, 0, "", "x"), Record("", 0, 0, "", "")]
            )
            server.write(touched, server.version)
        if world > deletion:
            deletion = 1e9
            server.write(None, server.version)
        one.step(server, world, draw)
    spans = sorted((begin, end, one.name) for one in crowd for begin, end in one.spans)
    assert len({name for _, _, name in spans}) == len(crowd)
    for (_, end, name), (begin, _, next_name) in itertools.pairwise(spans):
        # A write begins before the deadline; the rest of the Lease is for clocks that differ.
        assert name == next_name or begin >= end - (LEASE_S - RENEW_DEADLINE_S), (name, end, next_name, begin)
