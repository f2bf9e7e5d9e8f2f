"""Check settings against the catalog's schemas, before they travel, and for a bounded time each.

A schema can be made so that checking takes for ever: a pattern that backtracks, alternatives within alternatives. No
look at the schema alone tells which; so each check has so much of the processor's time and no more.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from types import FrameType

from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.core import goal_compile, settings_schema, verdict
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason
from vmext_operator.core.settings_schema import SchemaError

LIMIT_S = 0.25
#: How often a check that has had its time is told so, until it hears it.
_AGAIN_S = 0.01
#: Whose work is cut off: the checker's own, and that of what it calls.
_WORKING = frozenset({"jsonschema", "referencing", "re", settings_schema.__name__})
#: Of what is wrong.
_TOLD = 5
_REMEMBERED = 4096


def chosen_images(declared: Declared) -> dict[str, ExtensionImage]:
    """Return by UID the catalog entries that are chosen and have a schema."""
    with_schema = {
        (handler, image.version.text): image
        for handler, images in declared.catalog.items()
        for image in images
        if image.settings_schema or image.protected_settings_schema
    }
    if not with_schema:
        return {}
    versions = goal_compile.versions(declared)
    found = {uid: with_schema.get((handler.name.lower(), handler.version)) for uid, handler in versions.items()}
    return {uid: image for uid, image in found.items() if image is not None}


class _TookTooLongError(Exception):
    """A check has had its time."""


class Checker:
    """Checks settings; what it found it remembers, so that nothing is checked twice.

    Args:
        limit_s: of the processor's time for one check.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        #: By schema and settings: only public ones, since what is secret is not kept.
        self._found: OrderedDict[tuple[str, str], str] = OrderedDict()

    def refusals(self, declared: Declared, images: Mapping[str, ExtensionImage]) -> dict[str, verdict.Held]:
        """Return by UID why settings can't travel; what the machine has already is not asked about again."""
        found = {}
        for extension in declared.extensions:
            image, before = images.get(extension.meta.uid), declared.before(extension)
            if image is None or (
                before is not None
                and (before.settings, before.handler.version) == (extension.settings, image.version.text)
            ):
                continue
            held = self.public(image, extension.settings)
            if held is not None:
                found[extension.meta.uid] = held
        return found

    def public(self, image: ExtensionImage, settings: str) -> verdict.Held | None:
        """Return why an extension's settings can't travel, None where they can."""
        schema = image.settings_schema
        if not schema:
            return None
        key = (schema, settings)
        if key not in self._found:
            self._found[key] = self._check(schema, json.loads(settings), "settings", is_secret=False)
            if len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return _held(self._found[key], image, "settingsSchema")

    def protected(self, image: ExtensionImage, plain: bytes) -> verdict.Held | None:
        """Return why an extension's protected settings can't travel; nothing of them is in it."""
        schema = image.protected_settings_schema
        if not schema:
            return None
        found = self._check(schema, json.loads(plain), "protectedSettings", is_secret=True)
        return _held(found, image, "protectedSettingsSchema")

    def fault(self, image: ExtensionImage) -> str:
        """Return why one of a catalog entry's schemas can't be used, empty where all can."""
        for name in ("settingsSchema", "protectedSettingsSchema"):
            schema = image.settings_schema if name == "settingsSchema" else image.protected_settings_schema
            # On settings of nothing: a schema that is well made can still not be applied.
            found = self._check(schema, {}, name, is_secret=True) if schema else ""
            if found.startswith("!"):
                return f"{name} can't be used: {found[1:]}"
        return ""

    def _check(self, schema: str, document: object, name: str, *, is_secret: bool) -> str:
        """Return what is wrong, with an exclamation mark before what is wrong with the schema; empty for nothing."""
        try:
            with _limited(self._limit_s):
                found = settings_schema.faults(settings_schema.parse(schema), document, name, is_secret=is_secret)
                return "; ".join(islice(found, _TOLD))
        except SchemaError as error:
            return f"!{error}"
        except _TookTooLongError:
            return f"!checking took more than {self._limit_s} s; make patterns and alternatives simpler"


def _held(found: str, image: ExtensionImage, field: str) -> verdict.Held | None:
    if not found:
        return None
    if found.startswith("!"):
        message = f"{field} of VirtualMachineExtensionImage {image.meta.key.name} can't be used: {found[1:]}"
        return verdict.stalls(Reason.INVALID_SCHEMA, message)
    return verdict.stalls(Reason.INVALID_SETTINGS, f"{image.handler_name} {image.version} does not take them: {found}")


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _TookTooLongError in the block once it has had so much of the processor's time.

    The regular expressions' engine, too, looks for signals while it works. They come to the main thread alone.
    """
    assert threading.current_thread() is threading.main_thread(), "a check runs in the main thread"

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- what a signal's handler is given
        # What is raised in a callback of the garbage collector is lost, and what is raised where the block ends would
        # leave the timer running: there it is let pass, and comes again.
        module = str(frame.f_globals.get("__name__", "")) if frame is not None else ""
        if module in _WORKING or module.partition(".")[0] in _WORKING:
            raise _TookTooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
