"""The settings: which there are, what each may hold, and what can't be combined.

Fields, types and rules are those of Azure's CustomScript 2.1 for Linux. Messages name the field and never hold a value,
but for two public addresses that can't go together, without their queries.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping, Sequence
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
SCRIPT_NAME = "script.sh"
# What a download is called until it is complete, and while its line ends are converted.
_PARTIAL_NAME = re.compile(r"\.[0-9]+\.partial(\.unix)?")
_SHOWN_CHARACTERS = 200


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
    files = tuple(_remote_file(index, url) for index, url in enumerate(merged.get("fileUris", [])))
    _check_names(files, is_protected=bool(protected.get("fileUris")), has_script=script is not None)
    return Settings(
        command=command,
        command_is_protected=bool(protected.get("commandToExecute")),
        script=None if script is None else _decode_script(script),
        files=files,
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
    if _PARTIAL_NAME.fullmatch(name):
        raise SettingsError(f"{where}: a file can't be named like .0.partial, as downloads are until they are complete")
    return RemoteFile(url, name)


def _check_names(files: Sequence[RemoteFile], *, is_protected: bool, has_script: bool) -> None:
    """Refuse two files of one name. Azure's lets the later one replace the earlier, and nothing says so."""
    first: dict[str, int] = {}
    for index, file in enumerate(files):
        if has_script and file.name == SCRIPT_NAME:
            raise SettingsError(
                f"invalid configuration: fileUris[{index}]: a file can't be named {SCRIPT_NAME!r} beside 'script': "
                "the script is saved under that name"
            )
        other = first.setdefault(file.name, index)
        # The same address twice gives the same file twice.
        if files[other].url != file.url:
            raise SettingsError(
                f"invalid configuration: {_shown(other, files[other], is_protected)} and "
                f"{_shown(index, file, is_protected)} would be saved under the same name, the last part of the path, "
                "one in place of the other; give one of them another name, or download it in the script"
            )


def _shown(index: int, file: RemoteFile, is_protected: bool) -> str:
    # A query often is an access token, also in public settings.
    address = urlsplit(file.url)._replace(query="", fragment="").geturl()
    if len(address) > _SHOWN_CHARACTERS:
        address = f"{address[: _SHOWN_CHARACTERS // 2]}...{address[-_SHOWN_CHARACTERS // 2 :]}"
    return f"fileUris[{index}]" if is_protected else f"fileUris[{index}] ({address})"


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
