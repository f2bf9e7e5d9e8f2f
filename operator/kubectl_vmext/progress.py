"""What is being waited for, on standard error and on a terminal only: a pipe gets nothing but the result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

Tell = Callable[[str], None]


@contextlib.contextmanager
def shown(what: str) -> Iterator[Tell]:
    """Show what is waited for until the block ends; what is given changes the words."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(Text(what)) as status:
        # A machine's words are text, never markup.
        yield lambda words: status.update(Text(" ".join(f"{what}: {words}".split())[: console.width - 4]))
