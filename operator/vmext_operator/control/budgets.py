"""What each machine's own reports may cost: the operator's work for it, and Events about it.

A guest can write its status as often as the API server lets it. What follows from that is charged to its machine; when
the burst is used up the machine is looked at later, as it is by then: the newest state always arrives. What people
declare for a machine fills its accounts again, so that no guest can hold up what is wanted of it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable

from vmext_operator.api.meta import Key
from vmext_operator.core import rate
from vmext_operator.core.rate import Account, Rate

#: The machine that is worked on: the writes of that time are on its account.
working_for: contextvars.ContextVar[Key | None] = contextvars.ContextVar("working_for", default=None)

#: A look that writes nothing costs time all the same.
LOOK = 0.5
#: Accounts that are full again are dropped when there are so many.
_FEW = 1024


class Budgets:
    """The accounts of all machines.

    Args:
        clock: monotonic seconds.
        size: how many extensions a machine has.
    """

    def __init__(self, clock: Callable[[], float], size: Callable[[Key], int]) -> None:
        self._work = _Accounts(clock, lambda key: rate.of_work(size(key)))
        self._events = _Accounts(clock, lambda key: rate.of_events(size(key)))

    def declared(self, machine: Key) -> None:
        """Take note that people declared something for a machine."""
        self._work.fill(machine)
        self._events.fill(machine)

    def work_in_s(self, machine: Key) -> float:
        """Return in how many seconds a machine may be looked at for what it reports, 0 for now."""
        return self._work.wait_s(machine)

    def worked(self, machine: Key, cost: float) -> None:
        """Charge work to a machine."""
        self._work.spend(machine, cost)

    def requested(self, method: str) -> None:
        """Charge a request to the machine that is worked on, if it was one that writes."""
        machine = working_for.get()
        if machine is not None and method != "GET":
            self._work.spend(machine, 1.0)

    def event_in_s(self, machine: Key) -> float:
        """Return in how many seconds an Event about a machine may be written, 0 for now."""
        return self._events.wait_s(machine)

    def wrote_event(self, machine: Key) -> None:
        """Charge an Event to a machine."""
        self._events.spend(machine, 1.0)


class _Accounts:
    def __init__(self, clock: Callable[[], float], rate_of: Callable[[Key], Rate]) -> None:
        self._clock = clock
        self._rate_of = rate_of
        self._accounts: dict[Key, Account] = {}
        self._most = _FEW

    def fill(self, key: Key) -> None:
        self._accounts.pop(key, None)

    def wait_s(self, key: Key) -> float:
        account = self._accounts.get(key)
        return 0.0 if account is None else self._rate_of(key).wait_s(account, self._clock())

    def spend(self, key: Key, cost: float) -> None:
        self._accounts[key] = self._rate_of(key).spend(self._accounts.get(key), self._clock(), cost)
        if len(self._accounts) > self._most:
            self._drop_full()

    def _drop_full(self) -> None:
        now, rates = self._clock(), {key: self._rate_of(key) for key in self._accounts}
        self._accounts = {
            key: account for key, account in self._accounts.items() if rates[key].level(account, now) < rates[key].burst
        }
        self._most = max(_FEW, 2 * len(self._accounts))
