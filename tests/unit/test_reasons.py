"""docs/reasons.md is the one list: what is given is in it, and what is in it is given."""

from __future__ import annotations

import re
from pathlib import Path

from vmext_operator.core.reasons import PROGRESS, Reason

ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r'"([A-Z][A-Za-z]+)"')


def documented() -> dict[str, set[str]]:
    sections: dict[str, set[str]] = {}
    for part in (ROOT / "docs" / "reasons.md").read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        sections[title] = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    return sections


def test_every_reason_of_the_operator_is_documented() -> None:
    given = {reason.value for reason in Reason} | set(PROGRESS.values())
    # These the machine gives, and the operator looks for or gives in its place.
    assert documented()["Given by the operator"] == given - {
        "ExecutionFailed",
        "SequenceBehind",
        "UnsupportedOS",
        "DependencyFailed",
        "WaitingForDependency",
        "NothingInstalled",
    }


def test_every_reason_of_the_agent_is_documented() -> None:
    words = set()
    for module in (ROOT / "agent" / "vmext_agent").glob("*.py"):
        words |= set(WORD.findall(module.read_text()))
    listed = documented()["Given by the machine's agent"]
    assert listed <= words, f"documented, and given nowhere: {sorted(listed - words)}"
    reasons = {
        word
        for word in words
        if re.search(r"[a-z](Failed|Mismatch|Invalid|Full|Out|Reboot|Resumed|GoalState|Error)$", word)
    }
    assert reasons - listed <= {"GoalState"}, f"given, and not documented: {sorted(reasons - listed)}"


def test_troubleshooting_speaks_of_reasons_that_there_are() -> None:
    page = (ROOT / "docs" / "howto" / "troubleshooting.md").read_text()
    items = [line.partition(":")[0] for line in page.splitlines() if line.startswith("- `")]
    named = {word for item in items for word in re.findall(r"`(\w+)`", item)}
    assert len(named) > 20
    assert named <= set().union(*documented().values())
