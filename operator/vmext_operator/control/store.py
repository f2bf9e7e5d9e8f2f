"""The operator's picture of the cluster: every object of our kinds, parsed, with the indexes that decisions need.

Plain dicts. What is put in is newer or it is dropped; what matters of a change is told to one listener, by machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from vmext_operator.api import extension_image, fields, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import GoalState
from vmext_operator.api.meta import Key, Meta
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.control.namespaces import Collection
from vmext_operator.control.queue import Lane
from vmext_operator.core import signature
from vmext_operator.errors import ParseError

logger = logging.getLogger(__name__)


class _Object(Protocol):
    @property
    def meta(self) -> Meta: ...


T = TypeVar("T", bound=_Object)


class Differences(NamedTuple):
    """How many objects a list had newer than they were known, and how many of those that were known it had not."""

    news: int
    deletions: int


class _Kind(Generic[T]):
    """All objects of one kind."""

    def __init__(self, plural: str, parse: Callable[[Mapping[str, Any]], T]) -> None:
        self.plural = plural
        self.parse = parse
        self.objects: dict[Key, T] = {}
        #: resourceVersions at which objects were deleted: an older event must not bring one back.
        self.deleted: dict[Key, int] = {}


class Store:
    """Every object of our kinds.

    Args:
        changed: called with the key of each machine for which a decision may now be another one, and how soon it is to
            be looked at.
        publisher_keys: what the catalog's entries have to be signed with, where their publisher is among them.
    """

    def __init__(self, changed: Callable[[Key, Lane], None], publisher_keys: signature.Keys | None = None) -> None:
        self._changed = changed
        self._machines = _Kind(virtual_machine.PLURAL, virtual_machine.parse)
        self._extensions = _Kind(virtual_machine_extension.PLURAL, virtual_machine_extension.parse)
        self._publisher_keys = publisher_keys or {}
        self._images = _Kind(extension_image.PLURAL, self._judged)
        self._goals = _Kind(goal_state.PLURAL, goal_state.parse)
        self._extensions_of: dict[Key, set[Key]] = {}
        self._goals_of: dict[Key, set[Key]] = {}
        self._extensions_with: dict[str, set[Key]] = {}
        self._images_of: dict[str, set[Key]] = {}
        #: By what they depend on.
        self._dependants_of: dict[Key, set[Key]] = {}
        #: By the Secret that they name.
        self._extensions_naming: dict[Key, set[Key]] = {}

    # -- what is asked of it

    def machine(self, key: Key) -> VirtualMachine | None:
        """Return a machine, or None where none is declared."""
        return self._machines.objects.get(key)

    def goal_states(self, machine: Key) -> list[GoalState]:
        """Return the GoalStates of a machine, the newest first: one for each enrolment of which something is left."""
        found = [self._goals.objects[key] for key in self._goals_of.get(machine, ())]
        return sorted(found, key=lambda one: one.meta.age_order, reverse=True)

    def goal_state(self, machine: Key) -> GoalState | None:
        """Return the GoalState of a machine's present enrolment, None where it has none, or that is revoked."""
        declared = self._machines.objects.get(machine)
        if declared is None or not declared.anchor_uid:
            return None
        found = self._goals.objects.get(Key(machine.namespace, goal_state.name_of(machine.name, declared.anchor_uid)))
        return found if found is not None and not found.is_revoked else None

    def extension(self, key: Key) -> VirtualMachineExtension | None:
        """Return an extension, or None where none is declared."""
        return self._extensions.objects.get(key)

    def extensions_of(self, machine: Key) -> list[VirtualMachineExtension]:
        """Return the extensions declared for a machine, whether or not that is declared itself."""
        return [self._extensions.objects[key] for key in sorted(self._extensions_of.get(machine, ()))]

    def catalog(self, handlers: Iterable[str]) -> dict[str, Sequence[ExtensionImage]]:
        """Return the catalog's entries of those handlers, by lower-case ``publisher.type``."""
        return {
            handler: [self._images.objects[key] for key in sorted(self._images_of.get(handler, ()))]
            for handler in set(handlers)
        }

    def machines_naming(self, secret: Key) -> set[Key]:
        """Return the machines that have an extension which names a Secret."""
        return {self._extensions.objects[key].vm_key for key in self._extensions_naming.get(secret, ())}

    def machines(self) -> Iterable[VirtualMachine]:
        """Return all machines that are declared."""
        return self._machines.objects.values()

    def extensions(self) -> Iterable[VirtualMachineExtension]:
        """Return all extensions."""
        return self._extensions.objects.values()

    def images(self) -> Iterable[ExtensionImage]:
        """Return all entries of the catalog."""
        return self._images.objects.values()

    def machine_keys(self) -> set[Key]:
        """Return the keys of all machines that are declared, have extensions or have a GoalState."""
        return {*self._machines.objects, *self._extensions_of, *self._goals_of}

    def _judged(self, obj: Mapping[str, Any]) -> ExtensionImage:
        """Parse an entry of the catalog, and see once whether it is signed as it has to be. Raises ParseError."""
        image = extension_image.parse(obj)
        refused = signature.refusal(image, self._publisher_keys)
        if refused:
            logger.warning("catalog entry not chosen name=%s why=%s", image.meta.key.name, refused)
        return replace(image, refused=refused)

    # -- what is told to it

    def observe(
        self, plural: str, obj: Mapping[str, Any], *, deleted: bool = False, listed: bool = False, ours: bool = False
    ) -> bool:
        """Take in an object as the API server gave it; an older one than is known is dropped.

        Args:
            plural: its kind.
            obj: the object.
            deleted: whether this is the last that was seen of it.
            listed: whether it comes with a list, and many others.
            ours: whether nothing but a write of ours is new about it: that changes no decision.

        Returns:
            Whether it was newer than what was known.
        """
        kind = self._kind(plural)
        try:
            key, version = _head(obj)
            known = kind.objects.get(key)
            if not deleted and (
                (known is not None and int(known.meta.resource_version) >= version)
                or kind.deleted.get(key, -1) >= version
            ):
                return False
            value = kind.parse(obj)
        except ParseError as error:
            metadata = obj.get("metadata") or {}
            key = Key(str(metadata.get("namespace") or ""), str(metadata.get("name")))
            logger.error("object not understood plural=%s object=%s error=%s", plural, key, error)
            return False
        if deleted:
            if kind.deleted.get(key, -1) >= version or (known is not None and known.meta.uid != value.meta.uid):
                return False
            kind.deleted[key] = version
            self._put(kind, key, None)
        else:
            kind.deleted.pop(key, None)
            self._put(kind, key, value, quietly=ours, listed=listed)
        return True

    def retain(self, collection: Collection, listed: Set[Key], list_version: str) -> int:
        """Forget what a full list, as of its resourceVersion, did not have; return how many those were."""
        kind, namespace = self._kind(collection.plural), collection.namespace
        lost = [
            key
            for key, value in kind.objects.items()
            if namespace in ("", key.namespace)
            and key not in listed
            and int(value.meta.resource_version) <= int(list_version)
        ]
        for key in lost:
            self._put(kind, key, None, listed=True)
        kind.deleted = {
            key: version
            for key, version in kind.deleted.items()
            if namespace not in ("", key.namespace) or version > int(list_version)
        }
        return len(lost)

    def _kind(self, plural: str) -> _Kind[Any]:
        for kind in (self._machines, self._extensions, self._images, self._goals):
            if kind.plural == plural:
                return kind
        raise ValueError(plural)

    def _put(self, kind: _Kind[Any], key: Key, value: Any, *, quietly: bool = False, listed: bool = False) -> None:
        old = kind.objects.pop(key, None)
        if value is not None:
            kind.objects[key] = value
        one = value if value is not None else old
        if isinstance(one, VirtualMachineExtension):
            # vmName, publisher and type can't be changed: an index entry stands as long as its object. A goal's, too.
            _index(self._extensions_of, one.vm_key, key, present=value is not None)
            _index(self._extensions_with, one.handler_key, key, present=value is not None)
            self._index_names(self._dependants_of, key, _depends_on(old), _depends_on(value))
            self._index_names(self._extensions_naming, key, _secrets(old), _secrets(value))
        elif isinstance(one, ExtensionImage):
            _index(self._images_of, one.handler_key, key, present=value is not None)
        elif isinstance(one, GoalState):
            _index(self._goals_of, one.vm_key, key, present=value is not None)
        if not quietly and _matters(old, value):
            lane = Lane.BULK if listed else _lane_of(one)
            for machine in self._machines_of(one):
                self._changed(machine, lane)

    @staticmethod
    def _index_names(index: dict[Key, set[Key]], key: Key, before: set[str], after: set[str]) -> None:
        for name in before ^ after:
            _index(index, Key(key.namespace, name), key, present=name in after)

    def _machines_of(self, value: Any) -> set[Key]:
        if isinstance(value, VirtualMachineExtension):
            # What another machine's extension depends on is refused there, and told when that is to be had or gone.
            keys = self._dependants_of.get(value.meta.key, set())
            return {value.vm_key, *(self._extensions.objects[key].vm_key for key in keys)}
        if isinstance(value, ExtensionImage):
            keys = self._extensions_with.get(value.handler_key, set())
            return {self._extensions.objects[key].vm_key for key in keys if key in self._extensions.objects}
        if isinstance(value, GoalState):
            return {value.vm_key}
        return set() if value is None else {value.meta.key}


def _head(obj: Mapping[str, Any]) -> tuple[Key, int]:
    """Return an object's key and resourceVersion. Raises ParseError."""
    metadata = fields.field(obj, "object", "metadata", dict)
    version = fields.field(metadata, "metadata", "resourceVersion", str)
    if not version.isdecimal():
        raise ParseError("metadata.resourceVersion", f"{version!r} is no number")
    name = fields.field(metadata, "metadata", "name", str)
    return Key(metadata.get("namespace") or "", name), int(version)


def _index(index: dict[Any, set[Key]], under: Any, key: Key, *, present: bool) -> None:
    if present:
        index.setdefault(under, set()).add(key)
    elif under in index:
        index[under].discard(key)
        if not index[under]:
            del index[under]


def _depends_on(extension: VirtualMachineExtension | None) -> set[str]:
    return set() if extension is None else set(extension.depends_on)


def _secrets(extension: VirtualMachineExtension | None) -> set[str]:
    declared = extension.protected if extension is not None else None
    return {declared.secret} if declared is not None and declared.secret else set()


def _lane_of(changed: Any) -> Lane:
    if isinstance(changed, ExtensionImage):
        # It may concern every machine.
        return Lane.BULK
    # That a goal state is revoked is no word of its machine's, and does not wait behind those.
    return Lane.ONGOING if isinstance(changed, GoalState) and not changed.is_revoked else Lane.URGENT


def _matters(old: Any, new: Any) -> bool:
    """Tell whether a decision may be another one now; the echo of a status that we wrote ourselves is none."""
    if old is None or new is None:
        return old is not new
    before, after = old.meta, new.meta
    if (before.uid, before.generation, before.deleted, before.finalizers) != (
        after.uid,
        after.generation,
        after.deleted,
        after.finalizers,
    ):
        return True
    return isinstance(new, GoalState) and (new.report, new.is_revoked) != (old.report, old.is_revoked)
