"""JSON that is given to a command: as it is, from a file or from standard input, and never repeated in an error."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kubectl_vmext.errors import UsageError


def read(path: str) -> str:
    """Return a file as text, standard input for ``-``. Raises UsageError."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{path} is not text in UTF-8") from None


def settings(value: str, option: str) -> dict[str, Any]:
    """Return settings: a JSON object, ``@file``, ``-`` for standard input, or the path of a file, as az takes them.

    Raises UsageError, without a word of what was given: it may be secret.
    """
    text, where = _text(value, option)
    return json_object(text, where)


def json_object(text: str, where: str) -> dict[str, Any]:
    """Return a JSON object. Raises UsageError, with the place where it is none and nothing of what stands there."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is not JSON: line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{where} is not JSON") from None
    if not isinstance(found, dict):
        raise UsageError(f'{where} is not a JSON object, such as {{"commandToExecute": "..."}}')
    return found


def is_inline(value: str) -> bool:
    """Tell whether a value was given on the command line itself, where every user of the machine can read it."""
    return value != "-" and not value.startswith("@") and not _is_file(value)


def _text(value: str, option: str) -> tuple[str, str]:
    if value == "-" or value == "@-":
        return read("-"), f"what {option} reads from standard input"
    if value.startswith("@"):
        return read(value[1:]), value[1:]
    if _is_file(value):
        return read(value), value
    return value, f"what is given to {option}"


def _is_file(value: str) -> bool:
    try:
        return not value.lstrip().startswith("{") and Path(value).is_file()
    except (OSError, ValueError):
        return False
