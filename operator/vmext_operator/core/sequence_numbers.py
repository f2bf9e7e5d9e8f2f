"""The machine's counter of sequence numbers: what is made anew is always higher than all that went before."""

from __future__ import annotations

from dataclasses import replace

from vmext_operator.api.goal_state import Entry
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason


class Numbers:
    """Gives the numbers of one machine while its goal is compiled."""

    def __init__(self, declared: Declared) -> None:
        seen = [0]
        if declared.last is not None:
            seen.append(declared.last.last_sequence_number)
        for extension in declared.extensions:
            number = extension.status.get("sequenceNumber")
            seen.append(number if isinstance(number, int) else 0)
        self._report = declared.report
        if declared.report is not None:
            seen.append(declared.report.highest_sequence_number)
            seen.extend(answer.sequence_number for answer in declared.report.answers.values())
        self.highest = max(seen)

    def is_behind(self, entry: Entry) -> bool:
        """Tell whether the machine refuses this very entry because it has taken a higher number already."""
        answer = self._report.answers.get(entry.name) if self._report is not None else None
        return answer is not None and answer.reason == Reason.SEQUENCE_BEHIND.value and answer.answers(entry)

    def answer(self, entry: Entry) -> Entry:
        """Return an entry with a higher number where the machine refuses the one that it has."""
        return replace(entry, sequence_number=self.next()) if self.is_behind(entry) else entry

    def next(self) -> int:
        """Return the number that comes next; it is not taken until an entry keeps it."""
        return self.highest + 1

    def keep(self, entry: Entry) -> None:
        """Take the number of an entry that has found its place in the goal."""
        self.highest = max(self.highest, entry.sequence_number)
