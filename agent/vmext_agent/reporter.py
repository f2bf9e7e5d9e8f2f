"""The thread that reports: few writes, the newest state wins, nothing is lost while the API server is away.

Whatever happens on a machine, its reports come in a burst and then once a second: each says the newest of everything.
It also renews the machine's Lease, and tries again to take a token into use: threads of their own would cost memory for
short requests now and then. And it sees whether another machine reports in the place of this
one (``holder``).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from vmext_agent import cluster, lifecycle, report
from vmext_agent.backoff import Backoff
from vmext_agent.holder import Notices
from vmext_agent.lease import Lease
from vmext_agent.token_bucket import TokenBucket
from vmext_agent.wakeup import Wakeup

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from vmext_agent.cluster import Cluster
    from vmext_agent.config import Config
    from vmext_agent.credential import Credential
    from vmext_agent.goal_state import Goal
    from vmext_agent.holder import Claim
    from vmext_agent.log import Log
    from vmext_agent.report import Document

_FIRST_S, _LIMIT_S = 0.2, 30.0
#: Reports at once, and the time between two when those are used up. A new goal brings them back: what it asks for has
#: its answers at once, and what nobody asked for has not.
_BURST, _APART_S = 20, 1.0
#: What makes a change worth more than a new text.
_TELLING = ("uid", "state", "sequenceNumber", "version", "outcome", "operation", "reason")
_FINAL = (lifecycle.SUCCEEDED, lifecycle.FAILED, lifecycle.REMOVED)


class Reporter:
    """Keeps the status in the API server like the one that was submitted last.

    Args:
        config: how long what is not final waits for something final to come with it, and the least times between two
            reports of an extension of which only texts changed, or only times.
        client: its own connection.
        credential: what is tried again of certificate and token.
        claim: of this machine to be the one that reports.
        give_way: called with the reason when another machine is that one; does not return.
        draw: randomness of the back-off.
    """

    def __init__(
        self,
        config: Config,
        client: Cluster,
        credential: Credential,
        claim: Claim,
        give_way: Callable[[str], None],
        draw: random.Random,
        log: Log,
    ) -> None:
        self._client = client
        self._credential = credential
        self._delay_s = config.report_delay_s
        self._every_s = config.report_every_s
        self._times_s = config.report_times_s
        self._began = time.monotonic()
        self._backoff = Backoff(_FIRST_S, _LIMIT_S, draw)
        self._log = log
        self._lock = threading.Lock()
        self._wakeup = Wakeup()
        self._lease = Lease(client, claim.name, draw, log)
        self._claim = claim
        self._give_way = give_way
        self._notices = Notices()
        self._wanted: Document | None = None
        self._wanted_since = 0.0
        self._uid = ""
        self._version = ""
        self._known: Mapping[str, object] = {}
        self._sent_at: dict[str, float] = {}
        self._bucket = TokenBucket(_BURST, _APART_S, time.monotonic())
        self._incarnation = ("", 0)
        self._is_sending = False
        #: The newest status that was seen while a report was on its way.
        self._heard: tuple[str, Callable[[], Mapping[str, object]]] | None = None

    def start(self) -> None:
        """Begin; the thread ends with the process."""
        threading.Thread(target=self._run, name="Reporter", daemon=True).start()

    def submit(self, document: Document) -> None:
        """Have this reported."""
        with self._lock:
            # One that has not seen who holds the status does not know its term; nothing is sent before it has.
            document = {**document, "holder": self._claim.document()}
            if document != self._wanted:
                if self._wanted is None or self._wanted == self._known:
                    self._wanted_since = time.monotonic()
                self._wanted = document
                self._wakeup.set()

    def take_goal(self, uid: str, generation: int) -> None:
        """Take note of the goal that is worked on from now on."""
        with self._lock:
            if self._incarnation != (uid, generation):
                self._incarnation = (uid, generation)
                self._bucket.fill(time.monotonic())
                self._wakeup.set()

    def beat_every(self, seconds: int) -> None:
        """Have the machine's Lease renewed that often; 0 for never."""
        with self._lock:
            self._lease.set_interval(seconds)
            self._wakeup.set()

    def take_identity(self, goal: Goal) -> None:
        """Take in what a goal says of certificate and token; called in the watcher's thread."""
        self._credential.take(goal)
        self._wakeup.set()

    def observe(self, uid: str, version: str, read: Callable[[], Mapping[str, object]]) -> None:
        """Take note of the status that the API server has: what differs from it is what is sent.

        While a report is on its way, what comes is most likely its echo: then it need not be read.
        """
        with self._lock:
            if uid == self._uid and self._is_sending:
                self._heard = (version, read)
            elif uid != self._uid or _is_newer(version, self._version):
                self._uid = uid
                self._learn(version, read())
                self._wakeup.set()

    def _run(self) -> None:
        not_before = 0.0
        while True:
            with self._lock:
                due = self._due()
                wait_s = None if due is None else self._wait_s(max(due, not_before))
                beat_s, renewal_s = self._lease.wait_s(), self._credential.wait_s()
                next_s = min((one for one in (wait_s, beat_s, renewal_s) if one is not None), default=None)
                wanted, known, uid = self._wanted, self._known, self._uid
                self._is_sending = is_due = wait_s is not None and wait_s <= 0
                if is_due:
                    self._bucket.take(time.monotonic())
            if next_s is None or next_s > 0:
                self._wakeup.wait(next_s)
                continue
            if is_due and wanted is not None:
                not_before = time.monotonic() + self._send(wanted, known, uid)
                self._listen(uid)
            if beat_s is not None and beat_s <= 0:
                self._lease.renew()
                self._remove_stale()
            if renewal_s is not None and renewal_s <= 0:
                self._credential.turn()

    def _wait_s(self, due: float) -> float:
        """Return how long until a report that is due then may be sent."""
        now = time.monotonic()
        return max(due - now, self._bucket.wait_s(now))

    def _remove_stale(self) -> None:
        """Remove what copies said of themselves that are there no more."""
        stale = self._notices.stale(time.monotonic())
        if stale:
            try:
                self._client.patch_status({"copies": dict.fromkeys(stale)})
            except cluster.ClusterError as error:
                self._log.warning("What copies have said can't be removed", error=error)

    def _listen(self, uid: str) -> None:
        """Take in what was seen while a report was on its way, if it was more than its echo."""
        with self._lock:
            self._is_sending = False
            heard, self._heard = self._heard, None
            if heard is not None and uid == self._uid and _is_newer(heard[0], self._version):
                self._learn(heard[0], heard[1]())

    def _learn(self, version: str, status: Mapping[str, object]) -> None:
        """Take in a status as the API server has it, and who holds it."""
        now = time.monotonic()
        why = self._claim.observe(status, now)
        if why:
            self._give_way(why)
        self._notices.observe(status, now)
        # What copies say of themselves is theirs.
        self._version, self._known = version, {key: value for key, value in status.items() if key != "copies"}
        if self._wanted is not None:
            self._wanted = {**self._wanted, "holder": self._claim.document()}

    def _due(self) -> float | None:
        """Return when the next report is due, by the monotonic clock; None for not before something changes."""
        if self._wanted is None or not self._uid or self._wanted == self._known:
            return None
        soon = self._wanted_since + self._delay_s
        new, old = self._wanted.get("extensions"), self._known.get("extensions")
        if not isinstance(new, dict):
            return soon
        if not isinstance(old, dict):
            old = {}
        if {**self._wanted, "extensions": old} != {**self._known, "extensions": old} or old.keys() - new.keys():
            times = [soon]
        else:
            times = []
        for name, document in new.items():
            before = old.get(name)
            if document == before:
                continue
            if isinstance(before, dict) and report.without_times(document) == report.without_times(before):
                # Some handlers write their status anew every few seconds, with nothing new in it but the time.
                times.append(max(soon, self._sent_at.get(name, self._began) + self._times_s))
            elif isinstance(before, dict) and all(document.get(key) == before.get(key) for key in _TELLING):
                times.append(max(soon, self._sent_at.get(name, 0.0) + self._every_s))
            else:
                times.append(0.0 if document.get("outcome") in _FINAL else soon)
        return min(times, default=None)

    def _send(self, wanted: Document, known: Mapping[str, object], uid: str) -> float:
        """Send what differs; return how many seconds to wait before the next report, 0 where it was taken."""
        patch = report.merge_patch(known, wanted)
        try:
            try:
                version = self._client.patch_status(patch)
            except cluster.RefusedError as error:
                self._log.error("The API server refuses the status; sending less of it", error=error)
                wanted = _least(wanted)
                with self._lock:
                    self._bucket.take(time.monotonic())
                version = self._client.patch_status(report.merge_patch(known, wanted))
        except cluster.RefusedError as error:
            self._log.error("The API server refuses even the shortest status; it is not sent again", error=error)
            version = self._version
        except cluster.ClusterError as error:
            wait_s = max(self._backoff.next(), error.retry_after_s)
            if self._backoff.tries == 1:
                self._log.warning("The status can't be reported; trying again", error=error)
            return wait_s
        if self._backoff.tries:
            self._log.info("The status is reported again", tries=self._backoff.tries)
        self._backoff.reset()
        now = time.monotonic()
        for name in _names(patch):
            self._sent_at[name] = now
        with self._lock:
            # A refused or shortened one counts as sent in full: the same again would fare no better.
            if uid == self._uid:
                self._known = _merged(known, patch)
                self._version = version
                self._claim.written(now)
            self._wanted_since = now
        return 0.0


def _names(patch: Mapping[str, object]) -> list[str]:
    extensions = patch.get("extensions")
    return list(extensions) if isinstance(extensions, dict) else []


def _merged(known: Mapping[str, object], patch: Mapping[str, object]) -> Mapping[str, object]:
    """Return a document with a merge patch applied."""
    made = {key: value for key, value in known.items() if key not in patch}
    for key, value in patch.items():
        before = known.get(key)
        if isinstance(value, dict):
            made[key] = _merged(before if isinstance(before, dict) else {}, value)
        elif value is not None:
            made[key] = value
    return made


def _least(document: Document) -> Document:
    """Return a status without what a guest wrote into it."""
    extensions = document.get("extensions")
    if not isinstance(extensions, dict):
        return document
    kept = (*_TELLING, "installedVersion", "startTime", "endTime")
    return {
        **document,
        "extensions": {
            name: {key: value for key, value in one.items() if key in kept} for name, one in extensions.items()
        },
    }


def _is_newer(version: str, than: str) -> bool:
    """Tell whether a resource version is newer; what is no number can't be compared, and counts as newer."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
