"""Edits of JSON trees: what is nearly of a schema finds more than what is nothing like it."""

from __future__ import annotations

import json
from typing import Any

#: What nobody thinks of. Each stands for a kind of mistake.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63) - 1, 10**400, 0.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", " ", "a", "\0", "a\0b", "\n", "\x1b[2J", "\ud800", "\udcff",
    "\ufeff", "é", "\u0661", "\u0661.\u0662", "1_0", "-1", "+1", "1", "01", "1.0", "1..0", "1.0\n", "inf", "nan",
    "true", "TRUE", "null", ".", "..", "../../../x", "/etc/x", "a/b", "a" * 81, "a" * 202, "a" * 5000, "9" * 49,
    "9" * 400, "enabled", "one", "{}", "[]", "[" * 2000, "{\"a\":" * 2000, [], {}, [None], [[]], [{}], {"": None},
    {"a": {}}, [0] * 300, ["one", "one"],
)  # fmt: skip
OPERATIONS = ("replace", "remove", "repeat", "wrap", "rename", "swap")

Path = tuple[Any, ...]


def paths(tree: Any) -> list[Path]:
    """Return where every node of a tree is, the root's first."""
    found: list[Path] = []
    left: list[tuple[Path, Any]] = [((), tree)]
    while left:
        path, node = left.pop()
        found.append(path)
        if isinstance(node, dict):
            left += [((*path, key), value) for key, value in node.items()]
        elif isinstance(node, list):
            left += [((*path, index), value) for index, value in enumerate(node[:20])]
    return found


def edited(tree: Any, position: int, operation: str, value: Any) -> Any:
    """Return a tree with one node changed.

    Args:
        tree: stays as it is.
        position: which node, counted on from the last one to the first again.
        operation: one of ``OPERATIONS``.
        value: what takes part in it.
    """
    where = paths(tree)
    return _edited(tree, where[position % len(where)], operation, value)


def _edited(node: Any, path: Path, operation: str, value: Any) -> Any:
    if not path:
        return _changed(node, operation, value)
    key = path[0]
    if isinstance(node, dict):
        if len(path) > 1 or operation in ("replace", "wrap", "repeat"):
            return {**node, key: _edited(node[key], path[1:], operation, value)}
        rest = {name: one for name, one in node.items() if name != key}
        return {**rest, str(value): node[key]} if operation == "rename" else rest
    if len(path) > 1 or operation in ("replace", "wrap"):
        return [*node[:key], _edited(node[key], path[1:], operation, value), *node[key + 1 :]]
    if operation == "repeat":
        return [*node[:key], node[key], *node[key:]]
    if operation == "swap":
        return [*node[:key], *reversed(node[key:])]
    return [*node[:key], *node[key + 1 :]]


def _changed(node: Any, operation: str, value: Any) -> Any:
    if operation == "wrap":
        return [node]
    if operation == "repeat" and isinstance(node, list):
        return [*node, *node]
    if operation == "repeat" and isinstance(node, str):
        return (node * 2)[:100_000]
    if operation == "repeat" and isinstance(node, int):
        return node + 1
    return value


def rendered(tree: Any, *, ascii_only: bool = True) -> bytes:
    """Return a tree as JSON; what is no text becomes bytes that are no UTF-8."""
    return json.dumps(tree, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
