"""What the agent knows, on its way to disk and back."""

from __future__ import annotations

import pytest

from unit.agent import goals
from unit.agent.goals import Move, entry, record
from vmext_agent import records
from vmext_agent.records import Enabled, Failure


def test_a_record_and_a_move_survive_their_way_to_disk() -> None:
    made = record(entry(), enabled=True, verdict=goals.failed(retry=True))
    failure = Failure("install", "one", "InstallFailed", 1007, "why")
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {"one": Enabled("u", "1.0.0", 3, "b", 1.5)}, {"carry": "0"}, failure)

    assert records.load(records.dump(made), "one") == made
    assert records.load_move(records.dump(move), goals.HANDLER) == move


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"extension": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        records.load(data, "one")
    with pytest.raises(ValueError, match=r".*"):
        records.load_move(data, "one")
