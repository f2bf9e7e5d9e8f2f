"""What a command found, in the form that was asked for: a table to read, or JSON, YAML and TSV for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import jmespath
import jmespath.exceptions
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kubectl_vmext.errors import UsageError

F = TypeVar("F", bound=Callable[..., object])
FORMATS = ("table", "json", "yaml", "tsv")

#: Of a table, where the field's own name is Azure's secret.
_HEADINGS = {"typeHandlerVersion": "Version", "typePropertiesType": "Type", "vmName": "VM"}
#: JSON itself leaves these as they are.
_UNPRINTABLE = {number: f"\\u{number:04x}" for number in range(0x7F, 0xA0)}
_SPELLED = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\n\t"}


def options(default: str) -> Callable[[F], F]:
    """Give a command ``--output`` and ``--query`` as the az command has them."""

    def decorate(command: F) -> F:
        described = f"Form of the output (default: {default})."
        kind = click.Choice(FORMATS)
        command = click.option("-o", "--output", "form", type=kind, default=default, help=described)(command)
        return click.option("--query", metavar="JMESPATH", help="Show only this of it, by JMESPath.")(command)

    return decorate


def show(value: object, form: str, query: str | None, columns: Sequence[str] = ()) -> None:
    """Print a value.

    Args:
        value: objects and lists as JSON has them.
        form: one of FORMATS.
        query: a JMESPath expression, applied first.
        columns: of a table, by the names of the fields; those of the value where a query made another of it.
    """
    found = searched(value, query)
    if form == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False).translate(_UNPRINTABLE))
    elif form == "yaml":
        print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120), end="")
    elif form == "tsv":
        for line in _lines(found):
            print(line)
    else:
        _table(found, () if query else columns)


def printable(text: str) -> str:
    """Return a text whose control characters are spelled out: what a guest says can't move anybody's cursor."""
    return text.translate(_SPELLED)


def searched(value: object, query: str | None) -> Any:
    """Return what a JMESPath expression finds. Raises UsageError."""
    if query is None:
        return value
    try:
        return jmespath.search(query, value)
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        raise UsageError(f"--query {query!r} is no JMESPath: {' '.join(str(error).split())[:200]}") from None


def _lines(value: object) -> list[str]:
    rows = value if isinstance(value, list) else [value]
    return ["\t".join(_cell(cell).replace("\t", " ").replace("\n", "\\n") for cell in _cells(row)) for row in rows]


def _cells(row: object) -> list[object]:
    if isinstance(row, Mapping):
        return list(row.values())
    return list(row) if isinstance(row, list) else [row]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _table(value: object, columns: Sequence[str]) -> None:
    rows: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(row, Mapping) for row in rows):
        for line in _lines(value):
            print(line)
        return
    if not rows:
        print("nothing found", file=sys.stderr)
        return
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(_heading(name), overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        # A guest's words are text, never markup.
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    # A file or a pipe has no width.
    width = None if sys.stdout.isatty() else 10_000
    Console(file=sys.stdout, width=width, soft_wrap=True, highlight=False).print(table)


def _heading(name: str) -> str:
    return _HEADINGS.get(name) or name[:1].upper() + name[1:]
