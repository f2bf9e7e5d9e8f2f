"""The newest goal that was taken, kept on disk (0600): a machine that boots without the API server works from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmext_agent import files, goal_state
from vmext_agent.errors import GoalStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Goal
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log

_LIMIT = 4 << 20


def save(layout: Layout, obj: Mapping[str, object]) -> None:
    """Keep a GoalState's spec, with its uid and generation. Raises OSError."""
    metadata = obj.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    kept = {"metadata": {key: fields.get(key) for key in ("uid", "generation")}, "spec": obj.get("spec")}
    files.write(layout.goal, json.dumps(kept, separators=(",", ":")).encode(), 0o600)


def load(layout: Layout, log: Log) -> Goal | None:
    """Return the goal that was kept; None where there is none, or none that can be read."""
    try:
        obj = json.loads(files.read(layout.goal, _LIMIT))
        return goal_state.parse(obj)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, RecursionError, GoalStateError) as error:
        log.error("The last goal can't be read; waiting for the API server's", file=layout.goal, error=error)
        return None
