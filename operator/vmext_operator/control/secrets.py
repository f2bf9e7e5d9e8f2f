"""Read the Secrets that extensions refer to, by name, and encrypt what is in them for their machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from vmext_operator.api import conditions
from vmext_operator.api.credential import Pinned
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Entry, GoalState
from vmext_operator.api.meta import Key
from vmext_operator.api.protected import Protected, Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.cluster import envelopes, identities
from vmext_operator.cluster.identities import Identities
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.turns import Turns
from vmext_operator.control.writer import Clock
from vmext_operator.core import protected, verdict
from vmext_operator.core.identity import share
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import NotFoundError, RefusedError

#: Looks without a reason, five a second in all: at a Secret that is of use every minute, or every N/4 seconds where N
#: extensions have one, and at one that is of none every 5 seconds, or as many seconds as there are of those.
GOOD, BAD = (60.0, 1 / 4), (5.0, 1.0)
#: Looks at what a watch says is another one: fifty a second, so that one Secret of a whole fleet is no flood.
CHANGED = (0.0, 1 / 50)
_KEY_NAME, _KEY_FIELD = "vmext-operator-key", "hmac"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in a goal for the protected settings of a machine's extensions, by UID; and when to look again."""

    sealed: dict[str, Sealed | verdict.Held]
    again_s: float | None


class _Asked(NamedTuple):
    """What a look was for: another one is a reason to look again."""

    generation: int
    thumbprint: str
    version: str


@dataclass(frozen=True, slots=True)
class _Use:
    """What a Secret is read for: an extension that names it, where it is to be readable, and what is known of it."""

    extension: VirtualMachineExtension
    declared: Protected
    pinned: Pinned
    #: In the goal that is in force.
    entry: Entry | None
    #: What the catalog chose for it, where that has a schema.
    image: ExtensionImage | None

    @property
    def secret(self) -> Key:
        return Key(self.extension.meta.key.namespace, self.declared.secret)

    @property
    def sealed(self) -> Sealed | None:
        return self.entry.sealed if self.entry is not None else None

    @property
    def asked(self) -> _Asked:
        version = self.image.version.text if self.image is not None else ""
        return _Asked(self.extension.meta.generation, self.pinned.thumbprint, version)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a Secret was when it was looked at: never its content."""

    at: float
    asked: _Asked
    result: Sealed | verdict.Held
    #: How often a watch had told of the Secret before it was read.
    changes: int = 0
    #: After what part of the usual time it is looked at again: what came at once is spread by it.
    part: float = 1.0
    #: When it is looked at again, once it has a turn.
    turn: float | None = None
    is_hurried: bool = False


class Vault:
    """Reads Secrets.

    Args:
        requests: to the API server.
        clock: monotonic time.
        namespace: the operator's own, where the key is that tells contents apart.
        checker: holds what is in Secrets to the catalog's schemas.
    """

    def __init__(self, requests: Identities, clock: Clock, namespace: str, checker: Checker) -> None:
        self._checker = checker
        self._requests = requests
        self._clock = clock
        self._namespace = namespace
        self._key = b""
        self._good, self._bad = Turns(*GOOD), Turns(*BAD)
        self._changed = Turns(*CHANGED)
        #: How often a watch has told of each Secret.
        self._changes: dict[Key, int] = {}
        #: By machine, and by the UIDs of its extensions.
        self._seen: dict[Key, dict[str, _Seen]] = {}

    def changed(self, secret: Key) -> None:
        """Take note that a Secret may be another one: whoever names it is to be looked at, and finds it due."""
        self._changes[secret] = self._changes.get(secret, 0) + 1

    async def seal(
        self,
        machine: VirtualMachine,
        extensions: Sequence[VirtualMachineExtension],
        goal_state: GoalState | None,
        images: Mapping[str, ExtensionImage],
    ) -> Found:
        """Return the protected settings of a machine's extensions, encrypted for it. Raises ClusterError.

        Args:
            machine: with its certificate.
            extensions: of it.
            goal_state: in force.
            images: by UID, the catalog entries that are chosen and have a schema.
        """
        sealed: dict[str, Sealed | verdict.Held] = {}
        key, waits, read = machine.meta.key, [], set()
        for extension in extensions:
            declared = extension.protected
            if declared is None or extension.meta.deleted is not None:
                continue
            uid = extension.meta.uid
            pinned = machine.credential
            if pinned is None or not pinned.certificate:
                sealed[uid] = protected.not_enrolled(extension.vm_name)
                continue
            entry = goal_state.goal.entry(extension.meta.key.name) if goal_state is not None else None
            if entry is not None and entry.uid != uid:
                entry = None
            if not declared.secret:
                before = entry.sealed if entry is not None else None
                sealed[uid] = protected.of_encrypted(declared, pinned, extension.vm_name, before)
                continue
            seen, again_s = await self._of_secret(_Use(extension, declared, pinned, entry, images.get(uid)))
            read.add(uid)
            sealed[uid] = seen.result
            waits.append(again_s)
        self.keep(key, read)
        return Found(sealed, min(waits, default=None))

    async def _of_secret(self, use: _Use) -> tuple[_Seen, float]:
        """Return what a Secret was when it was read, now if that is due, and in how many seconds to come again."""
        machine, uid, secret, asked = use.extension.vm_key, use.extension.meta.uid, use.secret, use.asked
        # Counted before it is read: what changes while it is read is read again.
        changes = self._changes.get(secret, 0)
        seen = self._seen.get(machine, {}).get(uid) or _left(use)
        if seen is not None:
            seen = self._with_turn(seen, changes)
        is_asked = seen is None or seen.asked != asked
        if seen is None or is_asked or (seen.turn is not None and seen.turn <= self._now()):
            result = await self._read(use)
            seen = _Seen(self._now(), asked, result, changes, share(uid) if is_asked else 1.0)
        self._note(machine, uid, seen)
        if seen.changes != self._changes.get(secret, 0) and not seen.is_hurried:
            return seen, 0.0
        return seen, max(0.0, self._due(seen) - self._now()) + 0.05

    def keep(self, machine: Key, uids: Set[str]) -> None:
        """Forget all extensions of a machine but those: the others are gone, or have no Secret."""
        for uid in self._seen.get(machine, {}).keys() - uids:
            self._note(machine, uid, None)

    def _note(self, machine: Key, uid: str, seen: _Seen | None) -> None:
        before = self._seen.setdefault(machine, {}).pop(uid, None)
        if before is not None:
            self._turns(before).number -= 1
        if seen is not None:
            self._turns(seen).number += 1
            self._seen[machine][uid] = seen
        if not self._seen[machine]:
            del self._seen[machine]

    def _turns(self, seen: _Seen) -> Turns:
        return self._good if isinstance(seen.result, Sealed) else self._bad

    def _due(self, seen: _Seen) -> float:
        return seen.turn if seen.turn is not None else seen.at + seen.part * self._turns(seen).interval_s

    def _with_turn(self, seen: _Seen, changes: int) -> _Seen:
        """Give a turn to what is due and has none yet."""
        if seen.changes != changes and not seen.is_hurried:
            turn = self._changed.take(self._now())
            return replace(seen, turn=turn if seen.turn is None else min(turn, seen.turn), is_hurried=True)
        if seen.turn is not None or self._now() < self._due(seen):
            return seen
        return replace(seen, turn=self._turns(seen).take(self._now()))

    def _now(self) -> float:
        return self._clock.monotonic()

    async def _read(self, use: _Use) -> Sealed | verdict.Held:
        """Return what a Secret has for an extension, sealed for its machine, or why not. Raises ClusterError."""
        found = await self._look(use.secret, use.declared)
        if not isinstance(found, bytes):
            return found
        content, before, image = await self._content(found), use.sealed, use.image
        is_there = before is not None and before.content == content
        is_checked = is_there and use.entry is not None and use.entry.handler.version == use.asked.version
        if image is not None and not is_checked:
            refused = self._checker.protected(image, found)
            if refused is not None:
                return refused
        return protected.of_secret(found, content, use.pinned, before, envelopes.seal)

    async def _look(self, key: Key, declared: Protected) -> bytes | verdict.Held:
        """Return the content that a Secret has for an extension, or why there is none. Raises ClusterError."""
        try:
            data = await self._requests.read_secret(key)
        except NotFoundError:
            message = f"namespace {key.namespace} has no Secret {key.name}; recovers when it is there"
            return verdict.stalls(Reason.SECRET_NOT_FOUND, message, after_s=10.0)
        except RefusedError as error:
            message = f"Secret {key.name} can't be read ({error.status}); let the operator get it"
            return verdict.stalls(Reason.SECRET_UNREADABLE, message)
        try:
            plain = base64.b64decode(data[declared.key]) if declared.key in data else None
        except ValueError:
            # Letters that base64 does not have.
            plain = b""
        held = protected.refusal(declared, plain)
        return held if held is not None else plain or b""

    async def _content(self, plain: bytes) -> str:
        """Return what tells a content from others: nobody can try out what it might be, without the operator's key."""
        if not self._key:
            self._key = await self._read_key()
        return hmac.new(self._key, plain, hashlib.sha256).hexdigest()[:32]

    async def _read_key(self) -> bytes:
        own = Key(self._namespace, _KEY_NAME)
        made = base64.b64encode(secrets.token_bytes(32)).decode()
        obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": own.name}, "data": {_KEY_FIELD: made}}
        try:
            data = await self._requests.read_secret(own)
        except NotFoundError:
            await self._requests.create(identities.SECRETS, own.namespace, obj)
            data = await self._requests.read_secret(own)
        return base64.b64decode(data[_KEY_FIELD])


def _left(use: _Use) -> _Seen | None:
    """Return what an operator before this one saw, None where that can't be told.

    What is ready as it is declared was read for it: there is no need to read all Secrets at once after a start.
    """
    extension, before, asked = use.extension, use.sealed, use.asked
    if use.entry is None or before is None or before.thumbprint != asked.thumbprint:
        return None
    if asked.version not in ("", use.entry.handler.version):
        return None
    ready = conditions.find(extension.status.get("conditions") or (), "Ready")
    is_ready = ready is not None and ready.get("status") == "True"
    if not is_ready or extension.status.get("observedGeneration") != extension.meta.generation:
        return None
    return _Seen(float("-inf"), asked, before)
