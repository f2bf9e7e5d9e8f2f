"""Text from outside: bytes that may be anything, made fit for JSON, and cut where they are too long."""

from __future__ import annotations

#: All C0 controls but tab and line feed, DEL and C1: shown as \xNN.
_SHOWN = {code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)}
#: What Python makes of bytes that are no UTF-8 where it is told to keep them ("surrogateescape").
_SHOWN |= {0xDC00 + code: f"\\x{code:02x}" for code in range(0x80, 0x100)}


def clean(text: str) -> str:
    """Return text without control characters and lone surrogates, which are shown as escapes instead."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return text.translate(_SHOWN).encode("utf-8", "backslashreplace").decode("utf-8")


def decode(data: bytes) -> str:
    """Return what a program printed: UTF-8, with what is none shown as escapes (contract, section 5)."""
    return clean(data.decode("utf-8", "backslashreplace"))


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters: first and last part, with a mark of how much is missing between them."""
    if len(text) <= limit:
        return text
    mark = f"\n[... {len(text) - limit} or more characters left out ...]\n"
    room = limit - len(mark)
    if room < 2:
        return text[:limit]
    head = (room + 1) // 2
    return text[:head] + mark + text[len(text) - (room - head) :]
