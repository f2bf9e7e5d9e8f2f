"""Whether a package is its publisher's: Ed25519 over a few lines of text, by keys that the machine's owner put there.

The text is the operator's too (``vmext_operator/core/signature.py``, docs/signatures.md). A publisher is all of a
handler's name before the last dot, as in the policy. openssl checks it; that takes version 3.0 of it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from vmext_agent import files, openssl
from vmext_agent.errors import OpensslError

if TYPE_CHECKING:
    from vmext_agent.goal_state import Entry
    from vmext_agent.layout import Layout
    from vmext_agent.policy import Policy

#: So many verdicts are remembered: those of all entries of a goal, and of some before it.
_REMEMBERED = 1024
_BYTES = 64
_NEEDED = 3


def text(entry: Entry) -> bytes:
    """Return what is signed for the package of an entry."""
    publisher, _, kind = entry.handler.rpartition(".")
    package = entry.package
    lines = (
        "vmext package v1",
        f"publisher: {publisher}",
        f"type: {kind}",
        f"version: {entry.version}",
        f"sha256: {package.sha256}",
        f"size: {package.size_bytes}",
    )
    return "".join(f"{line}\n" for line in lines).encode()


class Signatures:
    """Checks signatures, each once for the same keys."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[tuple[object, ...], str] = {}

    def refusal(self, entry: Entry, policy: Policy) -> str:
        """Return why the package of an entry is not to be run, for its signature; empty where it may be.

        A signature has to be there where the policy requires one. One that is there has to be good where there is a
        key of the publisher's to tell.
        """
        publisher = entry.handler.rpartition(".")[0].lower()
        keys = [key for key in policy.keys if key.publisher == publisher]
        signature = entry.package.signature
        what = f"{entry.handler} {entry.version}"
        if not signature:
            needed = f"{policy.file} on this machine requires signatures"
            return f"{needed}, and the catalog has none of {what}" if policy.requires_signatures else ""
        if not keys:
            needed = f"{policy.file} on this machine requires signatures"
            lack = f"{needed}, and there is no key of {what}'s publisher; put it into /etc/vmext/keys/{publisher}/"
            return lack if policy.requires_signatures else ""
        question = (text(entry), signature, tuple(keys))
        if question not in self._known:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[question] = self._check(text(entry), signature, [key.file for key in keys])
        why = self._known[question]
        return f"the signature of {what} is not good by the keys in /etc/vmext/keys/{publisher}/: {why}" if why else ""

    def _check(self, signed: bytes, signature: str, keys: list[str]) -> str:
        try:
            raw = base64.b64decode(signature, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != _BYTES:
            return "it is not 64 bytes in base64"
        # For Ed25519 openssl wants files that it can measure, not pipes.
        given, proof = f"{self._layout.own}/signed.text", f"{self._layout.own}/signed.signature"
        try:
            files.write(given, signed, 0o600, durable=False)
            files.write(proof, raw, 0o600, durable=False)
            return _ask(keys, ("-rawin", "-in", given, "-sigfile", proof))
        except OSError as error:
            return f"it can't be checked: {error}"
        finally:
            for path in (given, proof):
                files.remove(path)


def _ask(keys: list[str], arguments: tuple[str, ...]) -> str:
    """Return why none of some keys is the one that signed; empty where one is."""
    said = ""
    for key in keys:
        said = _try(key, arguments)
        if not said:
            return ""
    return said if _is_new_enough() else "openssl on this machine is too old to check it; it takes OpenSSL 3.0"


def _try(key: str, arguments: tuple[str, ...]) -> str:
    try:
        openssl.run("pkeyutl", "-verify", "-pubin", "-inkey", key, *arguments)
    except OpensslError as error:
        return str(error)
    return ""


def _is_new_enough() -> bool:
    """Tell whether this machine's openssl can check Ed25519 at all: 1.1.1 can't, from its command line."""
    try:
        return int(openssl.run("version").split()[1].partition(b".")[0]) >= _NEEDED
    except (OpensslError, IndexError, ValueError):
        return False
