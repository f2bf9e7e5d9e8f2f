"""Evaluate a template's expressions: parameters and variables when they are asked for, loops by their index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kubectl_vmext.arm import expression, functions
from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.arm.expression import Call, Literal, Member, Node

#: Of one template: what takes more is made to take for ever.
MAX_STEPS = 200_000
_MAX_DEPTH = 64
GROUP = "/subscriptions/-/resourceGroups/-"


class Budget:
    """How much work a template may still ask for."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take note of work. Raises ArmError."""
        self._left -= steps
        if self._left < 0:
            raise ArmError(f"the template asks for more than {MAX_STEPS} steps")


@dataclass(frozen=True, slots=True)
class Scope:
    """What expressions can name.

    Attributes:
        given: values of parameters by name in lower case, taken as they are: no expression is looked for in them.
        parameters: defaults of parameters by name in lower case; one that is an expression is one still.
        variables: by name in lower case, as the template has them.
        location: of the resource group, None where it was not said.
        loops: the index in each copy loop around, by its name in lower case; the innermost one also as empty.
        budget: shared by all of a template.
        asked: what is being evaluated, outermost first: for circles.
    """

    given: Mapping[str, Any]
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    location: str | None = None
    loops: Mapping[str, int] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    asked: tuple[str, ...] = ()

    def within(self, loop: str, index: int) -> Scope:
        """Return the scope of one turn of a loop."""
        return replace(self, loops={**self.loops, loop.lower(): index, "": index})


def value(raw: Any, scope: Scope, depth: int = 0) -> Any:
    """Return a value of a template with every expression in it evaluated. Raises ArmError."""
    scope.budget.spend()
    if depth > _MAX_DEPTH:
        raise ArmError(f"values nested deeper than {_MAX_DEPTH}")
    if isinstance(raw, str):
        return _node(expression.parse(raw), scope) if expression.is_expression(raw) else expression.plain(raw)
    if isinstance(raw, list):
        return [value(one, scope, depth + 1) for one in raw]
    if isinstance(raw, dict):
        if "copy" in raw and isinstance(raw["copy"], list):
            raise ArmError("a copy loop over properties; write out what it makes")
        return {key: value(one, scope, depth + 1) for key, one in raw.items()}
    return raw


def text(raw: Any, scope: Scope, what: str) -> str:
    """Return a value that has to be a text. Raises ArmError."""
    found = value(raw, scope)
    if not isinstance(found, str) or not found:
        raise ArmError(f"{what} is no text")
    return found


def _node(node: Node, scope: Scope) -> Any:
    scope.budget.spend()
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Member):
        return _member(_node(node.target, scope), _node(node.key, scope))
    special = _SPECIAL.get(node.name)
    if special is not None:
        return special(node, scope)
    arguments = [_node(one, scope) for one in node.arguments]
    scope.budget.spend(sum(map(_size, arguments)) // 1000)
    found = functions.call(node.name, arguments)
    scope.budget.spend(_size(found) // 1000)
    return found


def _member(target: Any, key: Any) -> Any:
    if isinstance(target, list) and isinstance(key, int) and not isinstance(key, bool):
        if not 0 <= key < len(target):
            raise ArmError(f"element {key} of an array of {len(target)}")
        return target[key]
    if isinstance(target, dict) and isinstance(key, str):
        found = next((name for name in target if name.lower() == key.lower()), None)
        if found is None:
            raise ArmError(f"there is no field {key[:80]}")
        return target[found]
    raise ArmError("a field of what is no object, or an element of what is no array")


def _named(node: Call, scope: Scope) -> Any:
    kind = node.name[:-1]
    (name,) = _texts(node, scope, 1, 1)
    if kind == "parameter" and name.lower() in scope.given:
        return scope.given[name.lower()]
    known = scope.parameters if kind == "parameter" else scope.variables
    if name.lower() not in known:
        raise ArmError(f"there is no {kind} {name[:80]}" + ("; give it by --parameters" if kind == "parameter" else ""))
    asked = f"{kind} {name}"
    if asked in scope.asked or len(scope.asked) > _MAX_DEPTH:
        raise ArmError(f"{asked} is made of itself")
    return value(known[name.lower()], replace(scope, asked=(*scope.asked, asked)))


def _copy_index(node: Call, scope: Scope) -> int:
    arguments = [_node(one, scope) for one in node.arguments]
    loop = arguments.pop(0).lower() if arguments and isinstance(arguments[0], str) else ""
    offset = arguments.pop(0) if arguments else 0
    if arguments or isinstance(offset, bool) or not isinstance(offset, int):
        raise ArmError("copyIndex() takes the name of a loop and an offset")
    if loop not in scope.loops:
        raise ArmError(f"copyIndex({loop!r}) outside of that loop" if loop else "copyIndex() outside of a loop")
    return scope.loops[loop] + offset


def _if(node: Call, scope: Scope) -> Any:
    if len(node.arguments) != 3:
        raise ArmError("if() takes three arguments")
    condition = _node(node.arguments[0], scope)
    if not isinstance(condition, bool):
        raise ArmError("if() of what is neither true nor false")
    # The other branch is not looked at, as in Azure: it may not even have a value.
    return _node(node.arguments[1 if condition else 2], scope)


def _all_or_any(node: Call, scope: Scope) -> bool:
    stops_at = node.name == "or"
    for one in node.arguments:
        found = _node(one, scope)
        if not isinstance(found, bool):
            raise ArmError(f"{node.name}() of what is neither true nor false")
        if found is stops_at:
            return stops_at
    return not stops_at


def _coalesce(node: Call, scope: Scope) -> Any:
    return next((found for one in node.arguments if (found := _node(one, scope)) is not None), None)


def _resource_group(_: Call, scope: Scope) -> dict[str, Any]:
    if scope.location is None:
        raise ArmError("resourceGroup() is not known here; give --location")
    return {"id": GROUP, "name": "-", "location": scope.location}


def _resource_id(node: Call, scope: Scope) -> str:
    """Return an id by which resources of this template are told apart; subscription and group are nobody's."""
    words = _texts(node, scope, 2, 12)
    at = next((at for at, word in enumerate(words) if "/" in word), None)
    if at is None:
        raise ArmError("resourceId() without a type")
    provider, *kinds = words[at].split("/")
    names = [part for word in words[at + 1 :] for part in word.split("/")]
    if len(names) != len(kinds):
        raise ArmError(f"resourceId() of {words[at]} with {len(names)} names")
    return "/".join([GROUP, "providers", provider, *(part for pair in zip(kinds, names, strict=True) for part in pair)])


def _texts(node: Call, scope: Scope, least: int, most: int) -> list[str]:
    found = [_node(one, scope) for one in node.arguments]
    if not least <= len(found) <= most or not all(isinstance(one, str) for one in found):
        raise ArmError(f"{node.name}() with arguments that it does not take")
    return found


def _size(found: Any) -> int:
    return len(found) if isinstance(found, str | list | dict) else 0


_SPECIAL = {
    "parameters": _named,
    "variables": _named,
    "copyindex": _copy_index,
    "if": _if,
    "and": _all_or_any,
    "or": _all_or_any,
    "coalesce": _coalesce,
    "resourcegroup": _resource_group,
    "resourceid": _resource_id,
}
