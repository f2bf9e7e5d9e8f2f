"""HandlerManifest.json: which commands a handler has, and how it wants to be updated (contract, A3 and 1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "HandlerManifest.json"
COMMANDS = ("install", "enable", "disable", "uninstall", "update")


class Manifest(NamedTuple):
    """What the agent needs of a manifest; ``oddities`` is for the log."""

    commands: Mapping[str, str]
    update_with_install: bool
    continue_on_update_failure: bool
    multi_config: bool = False
    reports_heartbeat: bool = False
    oddities: tuple[str, ...] = ()


def parse(data: bytes, path: str) -> Manifest:
    """Parse a manifest; `path` is for messages. Raises ManifestError with the contract's code and words."""
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"Malformed manifest file ({path}): {error}", 1003) from None
    if not isinstance(document, list):
        raise ManifestError(f"Malformed manifest file ({path}): it is not a JSON array", -1)
    handler = document[0].get("handlerManifest") if document and isinstance(document[0], dict) else None
    if not isinstance(handler, dict):
        raise ManifestError(f"Malformed manifest file ({path}): [0].handlerManifest is not an object", -1)
    commands: dict[str, str] = {}
    for name in COMMANDS:
        command = handler.get(f"{name}Command")
        # A command without a word would run the install folder itself.
        if not isinstance(command, str) or not command.strip() or not _is_text(command):
            what = "is missing" if command is None else "is no command"
            raise ManifestError(f"Malformed manifest file ({path}): {name}Command {what}", -1)
        commands[name] = command
    oddities: list[str] = []
    mode = handler.get("updateMode")
    return Manifest(
        commands,
        mode is None or (isinstance(mode, str) and mode.lower() == "updatewithinstall"),
        _boolean(handler, "continueOnUpdateFailure", oddities),
        _boolean(handler, "supportsMultipleExtensions", oddities),
        _boolean(handler, "reportHeartbeat", oddities),
        tuple(oddities),
    )


def _is_text(command: str) -> bool:
    """Tell whether a shell can be given this: half of a pair of surrogates has no bytes."""
    return "\0" not in command and not any("\ud800" <= letter <= "\udfff" for letter in command)


def _boolean(handler: Mapping[str, object], key: str, oddities: list[str]) -> bool:
    value = handler.get(key, False)
    if isinstance(value, bool):
        return value
    oddities.append(f"{key} has a non-boolean value; make it a boolean")
    return isinstance(value, str) and value.lower() == "true"
