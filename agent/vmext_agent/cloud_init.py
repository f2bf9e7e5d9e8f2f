"""How far cloud-init is with setting the machine up, by what it leaves in /run: nothing is run to find out."""

from __future__ import annotations

import json
import os

from vmext_agent import files

ABSENT, RUNNING, DONE, ERROR = "absent", "running", "done", "error"
_LIMIT = 1 << 20


def state(root: str = "/") -> str:
    """Return ``absent``, ``running``, ``done`` or ``error``.

    ``result.json`` is written last; before it there is ``status.json`` with the stage that runs, and from the beginning
    of the boot ``enabled`` or ``disabled``. What is disabled counts as absent, and so does a status that can't be read.
    """
    folder = f"{root.rstrip('/')}/run/cloud-init"
    result = _object(f"{folder}/result.json")
    if result is not None:
        told = result.get("v1")
        errors = told.get("errors") if isinstance(told, dict) else None
        return ERROR if errors else DONE
    if os.path.exists(f"{folder}/result.json"):
        return ERROR
    if os.path.exists(f"{folder}/disabled"):
        return ABSENT
    if os.path.lexists(f"{folder}/status.json"):
        return RUNNING if _object(f"{folder}/status.json") is not None else ABSENT
    return RUNNING if os.path.exists(f"{folder}/enabled") else ABSENT


def _object(path: str) -> dict[str, object] | None:
    try:
        found = json.loads(files.read(path, _LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
