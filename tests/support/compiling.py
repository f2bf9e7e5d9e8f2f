"""Compile goals in tests from objects as users write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from support import objects
from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import Goal, Report
from vmext_operator.core import goal_compile, signature
from vmext_operator.core.declared import Declared

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def compiled(
    *extensions: dict[str, Any],
    images: list[dict[str, Any]] | None = None,
    last: Goal | None = None,
    report: Report | None = None,
    gone: frozenset[str] = frozenset(),
    machine: dict[str, Any] | None = None,
    elsewhere: Mapping[str, str] | None = None,
    publisher_keys: signature.Keys | None = None,
    paused: bool = False,
) -> goal_compile.Compiled:
    """Return the goal that comes of extensions, with VMExt.CustomScript 2.1.0 in the catalog unless told otherwise."""
    catalog: dict[str, list[extension_image.ExtensionImage]] = {}
    for obj in [objects.image()] if images is None else images:
        parsed = extension_image.parse(obj)
        parsed = replace(parsed, refused=signature.refusal(parsed, publisher_keys or {}))
        catalog.setdefault(parsed.handler_key, []).append(parsed)
    return goal_compile.compile_goal(
        Declared(
            machine=virtual_machine.parse(machine or objects.machine()),
            extensions=[virtual_machine_extension.parse(extension) for extension in extensions],
            catalog=catalog,
            last=last,
            report=report,
            gone=gone,
            now=NOW,
            elsewhere=elsewhere or {},
            paused=paused,
        )
    )


def reported(goal: Goal, outcome: str, **fields: Any) -> Report:
    """Return a report in which every entry of a goal has the same outcome, and these fields."""
    answers = {entry.name: objects.answer(entry.render(), outcome, **fields) for entry in goal.extensions}
    status = {"extensions": answers}
    report = goal_state.parse(objects.goal_state("web-1", goal.render(), status)).report
    assert report is not None
    return report
