"""How much may be done on one account: a burst, then so much a second. What is spent too much is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """What an account had at some time, by one monotonic clock in seconds; below 0 where more was spent."""

    level: float
    at: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How much there is at once, and how much comes a second. An account that nobody knows (None) is full."""

    burst: float
    per_s: float

    def level(self, account: Account | None, now: float) -> float:
        """Return what an account has."""
        if account is None:
            return self.burst
        return min(self.burst, account.level + max(0.0, now - account.at) * self.per_s)

    def spend(self, account: Account | None, now: float, cost: float) -> Account:
        """Return an account after something was spent, whether or not it was there."""
        return Account(self.level(account, now) - cost, now)

    def wait_s(self, account: Account | None, now: float) -> float:
        """Return in how many seconds there is something to spend: a whole one, for 0 now."""
        return max(0.0, (1.0 - self.level(account, now)) / self.per_s)


def of_work(extensions: int) -> Rate:
    """Return how much work a machine's reports may cause: requests that write, and looks at it.

    The burst is what it costs when all that a machine has becomes ready at one moment, with what a new one is given.
    """
    return Rate(30.0 + 4.0 * extensions, 1.0)


def of_events(extensions: int) -> Rate:
    """Return how many Events a machine's reports may cause."""
    return Rate(10.0 + 2.0 * extensions, 1.0 / 60.0)
