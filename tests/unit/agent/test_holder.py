"""Who writes a machine's status: one that boots takes it over, and of two that are there the younger gives way."""

from __future__ import annotations

from typing import Any

from vmext_agent.holder import Claim, Notices, identify, parse


class Server:
    """A status that several agents write: each sees what the other has written, and answers at its next turn."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.writes = 0

    def turn(self, claim: Claim, now: float = 0.0) -> str:
        """Let an agent see the status and bring it to what it wants; return why it gives way."""
        why = claim.observe(self.status, now)
        if not why and self.status.get("holder") != claim.document():
            self.status["holder"] = claim.document()
            self.writes += 1
            claim.written(now)
        return why


def settle(server: Server, claims: list[Claim], *, turns: int = 20) -> list[Claim]:
    """Let agents see and write in turn; return those that are left."""
    for _ in range(turns):
        for claim in list(claims):
            if server.turn(claim):
                claims.remove(claim)
    return claims


def test_a_machine_that_boots_takes_over_by_one_write() -> None:
    server = Server()
    assert settle(server, [Claim("i/1", "m")], turns=3)
    boot = Claim("i/2", "m")

    assert settle(server, [boot]) == [boot]
    assert server.writes == 2
    assert server.status["holder"] == {"id": "i/2", "term": 1, "machine": "m"}


def test_an_agent_that_starts_again_writes_nothing() -> None:
    server = Server()
    settle(server, [Claim("i/1", "m")])

    settle(server, [Claim("i/1", "m")])

    assert server.writes == 1


def test_of_two_that_are_there_the_younger_gives_way_after_few_writes() -> None:
    server = Server()
    original, copy = Claim("i/zzz", "m"), Claim("i/aaa", "m")
    settle(server, [original])

    assert settle(server, [original, copy]) == [original]
    assert server.status["holder"]["id"] == "i/zzz"
    assert server.writes <= 6


def test_of_five_that_begin_at_once_one_is_left_and_it_is_the_one_that_was_there() -> None:
    server = Server()
    original = Claim("i/m", "m")
    settle(server, [original])
    copies = [Claim(f"i/{letter}", "m") for letter in "azbyc"]

    assert settle(server, [*copies[:2], original, *copies[2:]]) == [original]
    assert server.writes <= 30


def test_two_that_begin_at_one_moment_are_told_apart_by_their_names() -> None:
    server = Server()
    first, second = Claim("i/1", "m"), Claim("i/2", "m")
    for claim in (first, second):
        claim.observe({}, 0.0)

    assert settle(server, [first, second]) == [first]


def test_one_that_has_changed_gives_way_to_one_that_has_not() -> None:
    server = Server()
    copy, original = Claim("i/1", "m", has_changed=True), Claim("i/2", "m")
    settle(server, [copy])

    assert settle(server, [copy, original]) == [original]


def test_a_server_that_was_restored_makes_nobody_give_way() -> None:
    server = Server()
    settle(server, [Claim("i/1", "m")])
    kept = dict(server.status)
    now = Claim("i/2", "m")
    settle(server, [now])

    server.status = dict(kept)
    assert settle(server, [now]) == [now]
    assert server.status["holder"]["id"] == "i/2"
    # Not if it is restored once more, a day later.
    server.status = dict(kept)
    assert server.turn(now, 86_400.0) == ""
    assert server.turn(now, 86_400.0) == ""


def test_rubbish_in_the_status_is_nobody() -> None:
    rubbish: tuple[Any, ...] = (None, 1, "x", [], {}, {"id": 1, "term": 1}, {"id": "x", "term": "1"})
    for one in (*rubbish, {"id": "x", "term": True}):
        assert parse({"holder": one}) is None
    claim = Claim("i/1", "m")
    assert claim.observe({"holder": {"id": "x", "term": 1 << 70}}, 0.0) == ""
    assert 0 <= int(str(claim.document()["term"])) < 1 << 53
    assert Claim("i/1", "m").document()["term"] == 0


def test_copies_share_the_installation_and_never_the_whole_name() -> None:
    facts = {"machineID": "1", "productUUID": "2"}
    own = identify("i", facts, "boot-1")

    assert own == identify("i", dict(reversed(facts.items())), "boot-1")
    others = {identify("i", facts, "boot-2"), identify("i", facts | {"machineID": "2"}, "boot-1")}
    assert own not in others
    assert {name.partition("/")[0] for name in (own, *others)} == {"i"}
    assert len(own) <= 64
    assert identify("", facts, "boot-1").startswith("unknown/")


def test_what_copies_have_said_is_removed_when_they_say_it_no_more() -> None:
    notices = Notices()
    notices.observe({"copies": {"a": {"time": "1"}, "b": {"time": "1"}}}, 0.0)
    notices.observe({"copies": {"a": {"time": "1"}, "b": {"time": "2"}}}, 3000.0)

    assert notices.stale(3599.0) == []
    assert notices.stale(3600.0) == ["a"]
    notices.observe({}, 3700.0)
    assert notices.stale(9999.0) == []
