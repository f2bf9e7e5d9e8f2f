"""What the end of a command means, by what is known of it."""

from __future__ import annotations

import pytest

from vmext_agent.endings import Evidence, reason


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        pytest.param(Evidence(0), "", id="it ended well"),
        pytest.param(Evidence(3), "", id="it failed"),
        pytest.param(Evidence(143), "", id="something ended it, and nothing else"),
        pytest.param(Evidence(137), "", id="something killed it, and nothing else"),
        pytest.param(Evidence(143, was_stopped=True), "Interrupted", id="its scope was stopped"),
        pytest.param(Evidence(1, was_stopped=True), "Interrupted", id="it had an answer to being stopped"),
        pytest.param(Evidence(0, was_stopped=True), "", id="it ended well while the machine went down"),
        pytest.param(Evidence(143, was_stopped=True, is_of_this_boot=False), "Interrupted", id="the machine went down"),
        pytest.param(Evidence(0, was_stopped=True, is_of_this_boot=False), "", id="it rebooted as its last act"),
        pytest.param(Evidence(3, is_of_this_boot=False), "", id="it failed, and then the machine went down"),
        pytest.param(Evidence(143, is_of_this_boot=False), "Interrupted", id="no agent lived to see it ended"),
        pytest.param(Evidence(137, is_of_this_boot=False), "Interrupted", id="no agent lived to see it killed"),
        pytest.param(Evidence(143, stopped_for="TimedOut"), "TimedOut", id="its time was over"),
        pytest.param(Evidence(0, stopped_for="Cancelled"), "Cancelled", id="it was not wanted any more"),
        pytest.param(
            Evidence(143, was_stopped=True, is_of_this_boot=False, stopped_for="TimedOut"),
            "TimedOut",
            id="its time was over and then the machine went down",
        ),
        pytest.param(Evidence(137, out_of_memory=True), "OutOfMemory", id="it was too large"),
        pytest.param(Evidence(1, out_of_memory=True), "OutOfMemory", id="a child was too large"),
        pytest.param(Evidence(0, out_of_memory=True), "", id="it did without a child that was too large"),
        pytest.param(Evidence(143, was_stopped=True, out_of_memory=True), "OutOfMemory", id="systemd stopped the rest"),
    ],
)
def test_the_reason_of_an_end(evidence: Evidence, expected: str) -> None:
    assert reason(evidence) == expected
