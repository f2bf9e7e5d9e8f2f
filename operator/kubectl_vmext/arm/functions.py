"""The functions of ARM templates that can be told without Azure, and what is said of those that can't."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from kubectl_vmext.arm.errors import ArmError

#: Of a text or a list that a function makes: more than any manifest may hold.
MAX_SIZE = 1 << 20
_FORMAT = re.compile(r"\{\{|\}\}|\{(\d{1,3})(?::([^{}]{0,16}))?\}")
_INT = 1 << 63

#: Functions that only Azure can answer, and what to do about them.
AZURES = {
    "reference": "asks Azure for a running resource",
    "listkeys": "asks Azure for keys",
    "list": "asks Azure for a running resource",
    "uniquestring": "makes a name that only Azure makes the same way",
    "guid": "makes a name that only Azure makes the same way",
    "newguid": "is another value each time",
    "utcnow": "is another value each time",
    "subscription": "asks Azure who asks",
    "tenant": "asks Azure who asks",
    "deployment": "asks Azure for the deployment",
    "environment": "asks Azure for its addresses",
    "subscriptionresourceid": "names a resource that is not of this template",
    "extensionresourceid": "names a resource that is not of this template",
}


def _concat(*parts: Any) -> Any:
    if parts and all(isinstance(part, list) for part in parts):
        return [one for part in parts for one in part]
    return "".join(_text(part) for part in parts)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    raise ArmError(f"a {_kind(value)} where a text is needed")


def _string(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArmError(f"a {_kind(value)} where a number is needed")
    return value


def _int(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    return _number(value)


def _bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "1", "false", "0"):
        return value.lower() in ("true", "1")
    if isinstance(value, int):
        return bool(value)
    raise ArmError(f"a {_kind(value)} where true or false is needed")


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ArmError(f"a {_kind(value)} where true or false is needed")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ArmError(f"a {_kind(value)} where an array is needed")
    return value


def _sized(value: Any) -> Sequence[Any] | dict[str, Any]:
    if not isinstance(value, str | list | dict):
        raise ArmError(f"a {_kind(value)} where a text, an array or an object is needed")
    return value


def _divided(a: Any, b: Any, *, rest: bool) -> int:
    over, under = _number(a), _number(b)
    if under == 0:
        raise ArmError("a division by zero")
    # As Azure: towards zero.
    whole = abs(over) // abs(under) * (1 if (over < 0) == (under < 0) else -1)
    return over - whole * under if rest else whole


def _formatted(pattern: Any, *values: Any) -> str:
    def one(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if int(match[1]) >= len(values):
            raise ArmError(f"format has no value for {match[0]}")
        return _by_form(values[int(match[1])], match[2] or "")

    return _FORMAT.sub(one, _text(pattern))


def _by_form(value: Any, form: str) -> str:
    if not form:
        return _text(value) if not isinstance(value, list | dict) else _string(value)
    digits = re.fullmatch(r"[Dd](\d{1,2})", form)
    width = int(digits[1]) if digits else len(form) if re.fullmatch("0{1,16}", form) else None
    if width is None:
        raise ArmError(f"format's {form!r} is not understood; D3 and 000 are")
    number = _number(value)
    return ("-" if number < 0 else "") + str(abs(number)).zfill(width)


def _replaced(text: Any, old: Any, new: Any) -> str:
    whole, before, after = _text(text), _text(old), _text(new)
    if not before:
        raise ArmError("replace of an empty text")
    if len(whole) + whole.count(before) * len(after) > MAX_SIZE:
        raise ArmError(f"a text longer than {MAX_SIZE} characters")
    return whole.replace(before, after)


def _substring(text: Any, start: Any, length: Any = None) -> str:
    whole, at = _text(text), _number(start)
    end = len(whole) if length is None else at + _number(length)
    if not 0 <= at <= end <= len(whole):
        raise ArmError("substring reaches out of its text")
    return whole[at:end]


def _padded(text: Any, width: Any, mark: Any = " ") -> str:
    wanted, filler = _number(width), _text(mark)
    if not 0 <= wanted <= MAX_SIZE or len(filler) != 1:
        raise ArmError("padLeft needs a sensible width and one character")
    return _text(text).rjust(wanted, filler)


def _joined(parts: Any, mark: Any) -> str:
    texts, between = [_text(part) for part in _list(parts)], _text(mark)
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_SIZE:
        raise ArmError(f"a text longer than {MAX_SIZE} characters")
    return between.join(texts)


def _split(text: Any, marks: Any) -> list[str]:
    each = [_text(mark) for mark in (marks if isinstance(marks, list) else [marks])]
    if not all(each):
        raise ArmError("split at an empty text")
    return re.split("|".join(map(re.escape, each)), _text(text)) if each else [_text(text)]


def _contained(whole: Any, part: Any) -> bool:
    if isinstance(whole, dict):
        return _field(whole, _text(part)) is not None
    if isinstance(whole, list):
        return part in whole
    return _text(part) in _text(whole)


def _field(whole: dict[str, Any], name: str) -> str | None:
    return next((key for key in whole if key.lower() == name.lower()), None)


def _range(start: Any, count: Any) -> list[int]:
    if not 0 <= _number(count) <= 10_000:
        raise ArmError("range of fewer than 0 or more than 10000")
    return list(range(_number(start), _number(start) + count))


def _union(*parts: Any) -> Any:
    if all(isinstance(part, dict) for part in parts):
        return {name: value for part in parts for name, value in part.items()}
    found: list[Any] = []
    for part in parts:
        found += [one for one in _list(part)[:2_000] if one not in found]
    return found


def _object(*parts: Any) -> dict[str, Any]:
    if len(parts) % 2:
        raise ArmError("createObject needs a value for each name")
    return {_text(parts[at]): parts[at + 1] for at in range(0, len(parts), 2)}


def _json(text: Any) -> Any:
    try:
        return json.loads(_text(text))
    except (ValueError, RecursionError):
        raise ArmError("json of what is not JSON") from None


def _from_base64(text: Any) -> str:
    try:
        return base64.b64decode(_text(text), validate=True).decode()
    except (binascii.Error, ValueError):
        raise ArmError("base64ToString of what is not base64 of text") from None


def _at_end(whole: Any, at: int) -> Any:
    some = _sized(whole)
    if isinstance(some, dict):
        raise ArmError("an object where a text or an array is needed")
    return some[at] if some else ("" if isinstance(some, str) else None)


def _cut(whole: Any, count: Any, *, skip: bool) -> Any:
    some, number = _sized(whole), max(0, _number(count))
    if isinstance(some, dict):
        raise ArmError("an object where a text or an array is needed")
    return some[number:] if skip else some[:number]


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _in_range(value: Any) -> Any:
    if isinstance(value, int) and not -_INT <= value < _INT:
        raise ArmError("a number beyond 64 bits")
    return value


#: By name in lower case: how many arguments at least and at most (None: any), and what is done.
TABLE: dict[str, tuple[int, int | None, Callable[..., Any]]] = {
    "concat": (1, None, _concat),
    "format": (1, None, _formatted),
    "tolower": (1, 1, lambda text: _text(text).lower()),
    "toupper": (1, 1, lambda text: _text(text).upper()),
    "trim": (1, 1, lambda text: _text(text).strip()),
    "string": (1, 1, _string),
    "int": (1, 1, _int),
    "bool": (1, 1, _bool),
    "add": (2, 2, lambda a, b: _in_range(_number(a) + _number(b))),
    "sub": (2, 2, lambda a, b: _in_range(_number(a) - _number(b))),
    "mul": (2, 2, lambda a, b: _in_range(_number(a) * _number(b))),
    "div": (2, 2, lambda a, b: _divided(a, b, rest=False)),
    "mod": (2, 2, lambda a, b: _divided(a, b, rest=True)),
    "min": (1, None, lambda *all_: min(map(_number, _list(all_[0]) if len(all_) == 1 else all_))),
    "max": (1, None, lambda *all_: max(map(_number, _list(all_[0]) if len(all_) == 1 else all_))),
    "equals": (2, 2, _equal),
    "not": (1, 1, lambda value: not _truth(value)),
    "greater": (2, 2, lambda a, b: _number(a) > _number(b)),
    "greaterorequals": (2, 2, lambda a, b: _number(a) >= _number(b)),
    "less": (2, 2, lambda a, b: _number(a) < _number(b)),
    "lessorequals": (2, 2, lambda a, b: _number(a) <= _number(b)),
    "true": (0, 0, lambda: True),
    "false": (0, 0, lambda: False),
    "null": (0, 0, lambda: None),
    "empty": (1, 1, lambda value: value is None or not _sized(value)),
    "length": (1, 1, lambda value: len(_sized(value))),
    "replace": (3, 3, _replaced),
    "substring": (2, 3, _substring),
    "padleft": (2, 3, _padded),
    "split": (2, 2, _split),
    "join": (2, 2, _joined),
    "startswith": (2, 2, lambda text, part: _text(text).lower().startswith(_text(part).lower())),
    "endswith": (2, 2, lambda text, part: _text(text).lower().endswith(_text(part).lower())),
    "indexof": (2, 2, lambda text, part: _text(text).lower().find(_text(part).lower())),
    "contains": (2, 2, _contained),
    "first": (1, 1, lambda value: _at_end(value, 0)),
    "last": (1, 1, lambda value: _at_end(value, -1)),
    "skip": (2, 2, lambda value, count: _cut(value, count, skip=True)),
    "take": (2, 2, lambda value, count: _cut(value, count, skip=False)),
    "range": (2, 2, _range),
    "union": (1, None, _union),
    "createarray": (0, None, lambda *all_: list(all_)),
    "array": (1, 1, lambda value: value if isinstance(value, list) else [value]),
    "createobject": (0, None, _object),
    "json": (1, 1, _json),
    "base64": (1, 1, lambda text: base64.b64encode(_text(text).encode()).decode()),
    "base64tostring": (1, 1, _from_base64),
    "uri": (2, 2, lambda base, rest: f"{_text(base).rstrip('/')}/{_text(rest).lstrip('/')}"),
}


def call(name: str, arguments: Sequence[Any]) -> Any:
    """Call a function by its name in lower case. Raises ArmError."""
    if name in AZURES or name.startswith("list"):
        raise ArmError(
            f"{name}() {AZURES.get(name, 'asks Azure')}, which is not known here; put its value in the template"
        )
    if name not in TABLE:
        raise ArmError(f"the function {name}() is not known")
    least, most, function = TABLE[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        raise ArmError(f"{name}() with {len(arguments)} arguments")
    if sum(len(one) for one in arguments if isinstance(one, str | list | dict)) > MAX_SIZE:
        raise ArmError(f"{name}() of more than {MAX_SIZE} characters")
    try:
        return function(*arguments)
    except ArmError as error:
        raise ArmError(f"{name}(): {error}") from None
    except (ValueError, UnicodeError, RecursionError) as error:
        raise ArmError(f"{name}() can't be told: {type(error).__name__}") from None


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", str: "text", list: "array", dict: "object", float: "fraction"}
    return "null" if value is None else names.get(type(value), "value")
