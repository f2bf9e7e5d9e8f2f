"""Read the Secrets that extensions refer to, by name, and encrypt what is in them for their machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import GoalState
from vmext_operator.api.meta import Key
from vmext_operator.api.protected import Protected, Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.cluster import envelopes, identities
from vmext_operator.cluster.identities import Identities
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.writer import Clock
from vmext_operator.core import protected, verdict
from vmext_operator.core.identity import share
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import NotFoundError, RefusedError

#: How often a Secret is looked at without a reason: a change of it is taken up within this time.
LOOK_EVERY_S = 60.0
#: How often one is looked at that could not be used.
_LOOK_AGAIN_S = 5.0
_KEY_NAME, _KEY_FIELD = "vmext-operator-key", "hmac"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in a goal for the protected settings of a machine's extensions, by UID; and when to look again."""

    sealed: dict[str, Sealed | verdict.Held]
    again_s: float | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a Secret was when it was looked at: never its content."""

    at: float
    generation: int
    thumbprint: str
    version: str
    result: Sealed | verdict.Held


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
        #: By the UIDs of a machine and of its extensions.
        self._seen: dict[str, dict[str, _Seen]] = {}

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
        waits: list[float] = []
        seen_before = self._seen.pop(machine.meta.uid, {})
        seen: dict[str, _Seen] = {}
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
            before = entry.sealed if entry is not None and entry.uid == uid else None
            if not declared.secret:
                sealed[uid] = protected.of_encrypted(declared, pinned, extension.vm_name, before)
                continue
            now, known = self._clock.monotonic(), seen_before.get(uid)
            is_good = known is not None and isinstance(known.result, Sealed)
            every_s = LOOK_EVERY_S * (0.8 + 0.2 * share(uid)) if is_good else _LOOK_AGAIN_S
            image = images.get(uid)
            asked = (extension.meta.generation, pinned.thumbprint, image.version.text if image is not None else "")
            if (
                known is None
                or (known.generation, known.thumbprint, known.version) != asked
                or now >= known.at + every_s
            ):
                found = await self._look(Key(extension.meta.key.namespace, declared.secret), declared)
                if isinstance(found, bytes):
                    content = await self._content(found)
                    is_there = before is not None and entry is not None and before.content == content
                    refused = None
                    if image is not None and not (is_there and entry and entry.handler.version == image.version.text):
                        refused = self._checker.protected(image, found)
                    result: Sealed | verdict.Held = refused or protected.of_secret(
                        found, content, pinned, before, envelopes.seal
                    )
                else:
                    result = found
                known = _Seen(now, *asked, result)
                every_s = LOOK_EVERY_S if isinstance(result, Sealed) else _LOOK_AGAIN_S
            seen[uid], sealed[uid] = known, known.result
            waits.append(max(0.0, known.at + every_s - now) + 0.05)
        if seen:
            self._seen[machine.meta.uid] = seen
        return Found(sealed, min(waits, default=None))

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
