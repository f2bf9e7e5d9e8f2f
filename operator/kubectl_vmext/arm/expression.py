"""The expressions of ARM templates, ``[concat('web-', copyIndex())]``, as trees."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubectl_vmext.arm.errors import ArmError

#: ARM's own limit of an expression's length, and one of ours: nobody writes deeper.
MAX_LENGTH, MAX_DEPTH = 24_576, 48

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d{1,18}(?![\w.]))|(?P<name>[A-Za-z_$][\w$]*)|(?P<mark>[()\[\],.]))"
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or a number."""

    value: str | int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; ``name`` is in lower case, as ARM does not tell cases apart."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an object, or an element of an array: ``.name`` and ``[expression]``."""

    target: Node
    key: Node


Node = Literal | Call | Member


def is_expression(text: str) -> bool:
    """Tell whether a string of a template is an expression; one that begins with ``[[`` is text."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def plain(text: str) -> str:
    """Return a string that is no expression as it is meant: ``[[`` stands for ``[``."""
    return text[1:] if text.startswith("[[") else text


def parse(text: str) -> Node:
    """Parse an expression with its brackets. Raises ArmError."""
    if len(text) > MAX_LENGTH:
        raise ArmError(f"an expression of {len(text)} characters; ARM takes at most {MAX_LENGTH}")
    parser = _Parser(_tokens(text[1:-1]), text)
    node = parser.node(0)
    if parser.mark:
        raise parser.error()
    return node


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ArmError(f"the expression {_short(text)} can't be read at {_short(text[at:].lstrip())}")
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    return found


class _Parser:
    """Reads tokens from the left."""

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    @property
    def mark(self) -> str:
        """Return what comes next, empty at the end."""
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def node(self, depth: int) -> Node:
        """Read one expression with all that hangs on it."""
        if depth > MAX_DEPTH:
            raise ArmError(f"the expression {_short(self._text)} is nested deeper than {MAX_DEPTH}")
        kind, word = self._take()
        if kind == "text":
            return Literal(word[1:-1].replace("''", "'"))
        if kind == "number":
            return Literal(int(word))
        if kind != "name":
            self._at -= 1
            raise self.error()
        if self.mark == ".":
            self._take()
            raise ArmError(f"{word}.{self.mark} is a function of the template's own; put what it returns in its place")
        found: Node = Call(word.lower(), self._arguments(depth))
        for _ in range(MAX_DEPTH):
            if self.mark == ".":
                self._take()
                kind, word = self._take()
                if kind != "name":
                    raise self.error()
                found = Member(found, Literal(word))
            elif self.mark == "[":
                self._take()
                found = Member(found, self.node(depth + 1))
                self._expect("]")
            else:
                return found
        raise ArmError(f"the expression {_short(self._text)} reaches deeper than {MAX_DEPTH} fields")

    def error(self) -> ArmError:
        """Return an error that names what was found instead."""
        return ArmError(f"the expression {_short(self._text)} can't be read at {_short(self.mark) or 'its end'}")

    def _arguments(self, depth: int) -> tuple[Node, ...]:
        self._expect("(")
        found: list[Node] = []
        while self.mark != ")":
            if found:
                self._expect(",")
            found.append(self.node(depth + 1))
        self._take()
        return tuple(found)

    def _take(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self.error()
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, mark: str) -> None:
        if self.mark != mark or self._tokens[self._at][0] != "mark":
            raise self.error()
        self._at += 1


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
