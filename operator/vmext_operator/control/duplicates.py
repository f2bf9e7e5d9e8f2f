"""Remember which holders and copies of each machine were seen, and when."""

from __future__ import annotations

from collections.abc import Container

from vmext_operator.api import conditions
from vmext_operator.api.goal_state import Copy, Report
from vmext_operator.api.meta import Key
from vmext_operator.core import duplicates, reachability
from vmext_operator.core.duplicates import Sighting
from vmext_operator.core.reachability import Sign


class Duplicates:
    """What was seen of machines that have one identity. Times are those that the caller counts by."""

    def __init__(self) -> None:
        #: What the Lease says and what the report says are not of one moment: each has a history of its own.
        self._leases: dict[Key, tuple[Sighting, ...]] = {}
        self._reports: dict[Key, tuple[Sighting, ...]] = {}
        self._copies: dict[Key, dict[str, Sign]] = {}
        #: What was said of each machine last.
        self._reason: dict[Key, str] = {}

    def take_lease(self, key: Key, holder: str, now_s: float) -> None:
        """Take note of who has renewed a machine's Lease."""
        self._leases[key] = duplicates.observe(self._leases.get(key, ()), holder, "", now_s)

    def take_report(self, key: Key, report: Report | None, now_s: float) -> conditions.Condition | None:
        """Take note of who reports for a machine; return what is to be said of it."""
        if report is not None:
            known = self._reports.get(key, ())
            self._reports[key] = duplicates.observe(known, report.holder.id, report.holder.machine, now_s)
            before = self._copies.get(key, {})
            self._copies[key] = {
                copy.name: reachability.observe(before.get(copy.name), copy, now_s) for copy in report.copies
            }
        found = self._judge(key, now_s)
        self._reason[key] = "" if found is None else found.reason
        return found

    def has_changed(self, key: Key, now_s: float) -> bool:
        """Tell whether something else is to be said of a machine than was last."""
        found = self._judge(key, now_s)
        return key in self._reason and self._reason[key] != ("" if found is None else found.reason)

    def keep(self, known: Container[Key]) -> None:
        """Forget the machines that are gone."""
        for kept in (self._leases, self._reports, self._copies, self._reason):
            for key in [key for key in kept if key not in known]:
                del kept[key]

    def _judge(self, key: Key, now_s: float) -> conditions.Condition | None:
        reports = self._reports.get(key, ())
        machines = {one.id: one.machine for one in reports}
        turns = {one.id: one for one in duplicates.in_turn(reports, now_s)}
        for one in duplicates.in_turn(self._leases.get(key, ()), now_s):
            turns.setdefault(one.id, Sighting(one.id, machines.get(one.id, ""), one.at_s))
        seen = self._copies.get(key, {}).values()
        copies = [sign.mark for sign in seen if now_s - sign.at_s < duplicates.COPY_QUIET_S]
        named = [copy for copy in copies if isinstance(copy, Copy)]
        return duplicates.condition(key.name, list(turns.values()), named)
