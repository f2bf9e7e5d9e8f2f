"""The settings: which there are, what each may hold, and what can't be combined.

Fields, types and rules are those of Azure's CustomScript 2.1 for Linux. Messages name the field and never hold a value.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from .errors import SettingsError

# What Azure's has of these two: the longest script as it stands in the settings, and a bound on what it unpacks to.
_SCRIPT_LIMIT_BYTES = 256 << 10
_UNPACKED_LIMIT_BYTES = 16 << 20

_AZURE_ONLY = ("storageAccountName", "storageAccountKey", "managedIdentity")
_TYPES = {"commandToExecute": str, "script": str, "fileUris": list, "skipDos2Unix": bool, "timestamp": int}
_TYPE_NAMES = {str: "string", list: "array", bool: "boolean", int: "integer", dict: "object", float: "number"}
_OUTPUT_NAMES = ("stdout", "stderr")


class RemoteFile(NamedTuple):
    """A file to be downloaded: its address, and its name in the folder that the script runs in."""

    url: str
    name: str


class Settings(NamedTuple):
    """What is to be done: exactly one of command and script is there.

    Attributes:
        command: a line for /bin/sh.
        command_is_protected: whether the command came with the protected settings, and so must not be seen by others.
        script: the content of a script, decoded and unpacked.
        files: what to download first, in this order.
        convert_text: whether line ends and byte order marks of scripts become those of Unix.
    """

    command: str | None
    command_is_protected: bool
    script: bytes | None
    files: tuple[RemoteFile, ...]
    convert_text: bool


def parse(public: Mapping[str, Any], protected: Mapping[str, Any]) -> Settings:
    """Check both settings objects and make one of them. Raises SettingsError."""
    _check("public", public)
    _check("protected", protected)
    merged: dict[str, Any] = {}
    for name in _TYPES:
        # As in Azure's, an empty text or list is the same as none.
        given = [settings[name] for settings in (public, protected) if settings.get(name) not in (None, "", [])]
        if len(given) > 1:
            raise SettingsError(
                f"invalid configuration: '{name}' was specified both in public and protected settings; "
                "it must be specified only once"
            )
        if given:
            merged[name] = given[0]
    command, script = merged.get("commandToExecute"), merged.get("script")
    if command is not None and script is not None:
        raise SettingsError("invalid configuration: 'commandToExecute' and 'script' were both specified; specify one")
    if command is None and script is None:
        raise SettingsError(
            "invalid configuration: neither 'commandToExecute' nor 'script' is specified; specify one of them"
        )
    if command is not None and "\0" in command:
        raise SettingsError("invalid configuration: 'commandToExecute' holds a NUL character, which no shell can take")
    return Settings(
        command=command,
        command_is_protected=bool(protected.get("commandToExecute")),
        script=None if script is None else _decode_script(script),
        files=tuple(_remote_file(index, url) for index, url in enumerate(merged.get("fileUris", []))),
        convert_text=not merged.get("skipDos2Unix", False),
    )


def _check(side: str, settings: Mapping[str, Any]) -> None:
    where = f"invalid {side} settings JSON"
    for name, value in settings.items():
        if name in _AZURE_ONLY:
            raise SettingsError(
                f"{where}: {name}: is not supported outside Azure; use an address in fileUris that needs no Azure "
                "identity, such as one with its own access token, in the protected settings"
            )
        if name not in _TYPES:
            raise SettingsError(f"{where}: (root): Additional property {_printable(name)} is not allowed")
        if value is not None:
            _check_type(f"{where}: {name}", value, _TYPES[name])
    for index, url in enumerate(settings.get("fileUris") or []):
        _check_type(f"{where}: fileUris[{index}]", url, str)


def _check_type(where: str, value: object, expected: type) -> None:
    # True is an int to Python, and is none to JSON.
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        given = "null" if value is None else _TYPE_NAMES[type(value)]
        raise SettingsError(f"{where}: Invalid type. Expected: {_TYPE_NAMES[expected]}, given: {given}")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{where}: holds half of a surrogate pair, which is no text") from None


def _printable(name: str) -> str:
    return name[:100].encode("ascii", "backslashreplace").decode()


def _remote_file(index: int, url: str) -> RemoteFile:
    where = f"invalid configuration: fileUris[{index}]"
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        raise SettingsError(f"{where}: is no address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"{where}: must be an address that starts with http:// or https:// and names a host")
    if user is not None:
        raise SettingsError(f"{where}: holds a user name; put an access token in the query instead")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise SettingsError(f"{where}: holds a character that must be percent-encoded in an address")
    name = unquote(parts.path).rsplit("/", 1)[-1]
    if name in ("", ".", "..") or "\0" in name or len(name.encode()) > 200:
        raise SettingsError(f"{where}: cannot extract file name from URL: its path must end in the name of a file")
    if name in _OUTPUT_NAMES:
        raise SettingsError(f"{where}: a file can't be named {name!r}: what the script prints is saved under that name")
    return RemoteFile(url, name)


def _decode_script(text: str) -> bytes:
    if len(text) > _SCRIPT_LIMIT_BYTES:
        raise SettingsError(
            f"invalid configuration: script: its length of {len(text)} is above the limit of {_SCRIPT_LIMIT_BYTES}; "
            "compress it with gzip before base64, or put it behind an address in fileUris"
        )
    try:
        # Line breaks are what the base64 command puts in.
        script = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError("invalid configuration: script: is not base64; encode it with `base64 -w0 FILE`") from None
    if not script.startswith(b"\x1f\x8b"):
        return script
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        script = unzip.decompress(script, _UNPACKED_LIMIT_BYTES)
    except zlib.error:
        raise SettingsError("invalid configuration: script: begins as gzip does, but can't be unpacked") from None
    if unzip.unconsumed_tail:
        raise SettingsError(f"invalid configuration: script: unpacks to more than {_UNPACKED_LIMIT_BYTES} bytes")
    if not unzip.eof:
        raise SettingsError("invalid configuration: script: is gzip that was cut short")
    return script
