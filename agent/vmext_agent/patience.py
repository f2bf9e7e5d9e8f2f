"""What a command waits for before it is begun, for a bounded time: package managers at work, cloud-init at boot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmext_agent import cloud_init, package_locks, steps
from vmext_agent.hold import Held

if TYPE_CHECKING:
    from vmext_agent.config import Config
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.log import Log
    from vmext_agent.steps import Step

_LOOK_S = 1.0
_NEED_PACKAGES = (steps.INSTALL, steps.UPDATE, steps.ENABLE)


class Patience:
    """Which extensions wait, for what, and since when. The wait is no part of a command's own time."""

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log
        self._began = time.monotonic()
        self._booting = config.wait_for_cloud_init_s > 0
        #: By the monotonic clock.
        self._since: dict[str, float] = {}
        self._held: dict[str, Held] = {}
        self._look_at = 0.0

    def waits_for(self, extension: str) -> Held | None:
        """Return what an extension waits for, None for nothing."""
        return self._held.get(extension)

    def take_goal(self, goal: Goal) -> None:
        """Forget who has left the goal."""
        names = {entry.name for entry in goal.entries}
        for name in [name for name in self._held if name not in names]:
            self._go(name)

    def wait_s(self) -> float | None:
        """Return how long until it is worth another look; None where nobody waits."""
        return max(0.0, self._look_at - time.monotonic()) if self._held else None

    def holds_back(self, step: Step, entry: Entry | None) -> bool:
        """Tell whether a step is to be begun later."""
        if step.kind not in steps.COMMANDS:
            return False
        now = time.monotonic()
        if step.extension in self._held and now < self._look_at:
            return True
        held = self._cloud_init(now) or self._package_manager(step, entry, now)
        if held is None:
            self._go(step.extension)
            return False
        if step.extension not in self._held:
            self._log.info("A command waits", extension=step.extension, command=step.kind, why=held.message)
        self._held[step.extension] = held
        self._look_at = now + _LOOK_S
        return True

    def _go(self, extension: str) -> None:
        self._held.pop(extension, None)
        self._since.pop(extension, None)

    def _cloud_init(self, now: float) -> Held | None:
        if not self._booting:
            return None
        if cloud_init.state(self._config.root) != "running" or now - self._began >= self._config.wait_for_cloud_init_s:
            self._booting = False
            return None
        return Held("WaitingForCloudInit", "waiting for cloud-init to set the machine up")

    def _package_manager(self, step: Step, entry: Entry | None, now: float) -> Held | None:
        limit_s = self._config.package_lock_s
        if step.kind not in _NEED_PACKAGES or limit_s <= 0 or (entry is not None and not entry.installs_packages):
            return None
        holder = package_locks.holder(self._config.root)
        if holder is None:
            return None
        if now - self._since.setdefault(step.extension, now) >= limit_s:
            self._log.warning(
                "A package manager has been at work for too long; the command is begun all the same",
                extension=step.extension,
                manager=holder.manager,
                pid=holder.pid,
            )
            return None
        return Held("WaitingForPackageManager", f"waiting for {holder.manager}, held by {_who(holder)}")


def _who(holder: package_locks.Holder) -> str:
    if holder.pid <= 0:
        return "another process"
    return f"pid {holder.pid} ({holder.program})" if holder.program else f"pid {holder.pid}"
