"""Which snippets of the documentation are run by tests, and which are not and why."""

from __future__ import annotations

from support import snippets

DOCS = snippets.ROOT / "docs"
PAGES = [snippets.ROOT / "README.md", DOCS / "concepts.md", *sorted((DOCS / "howto").glob("*.md"))]
#: How many are not run here. A new one has to be argued for in its info string, and counted.
NOT_RUN = 15


def test_every_snippet_is_run_or_says_why_not() -> None:
    blocks = [block for page in PAGES for block in snippets.of(page)]
    assert [block.problem for block in blocks if block.problem] == []
    assert sum(page.read_text().count("\n```") for page in PAGES) == 2 * len(blocks), "a fence is not closed"
    not_run = [f"{block.where}: {block.why_not}" for block in blocks if block.why_not]
    assert len(not_run) == NOT_RUN, "\n".join(not_run)
    assert len(blocks) - len(not_run) >= 35


def test_what_is_shown_is_compared_with_what_is_printed() -> None:
    assert snippets.differs(["NAME   AGE", "a[1]    …"], "NAME AGE\na[1]  3s\n") is None
    assert snippets.differs(["NAME"], "NAME\nmore\n") is not None
    assert snippets.differs(["a*"], "ab\n") is not None
    assert snippets.differs([], "") is None


def test_a_console_block_is_commands_with_what_they_print() -> None:
    assert list(snippets.commands("$ a b\none\ntwo\n$ c\n")) == [("a b", ["one", "two"]), ("c", [])]
