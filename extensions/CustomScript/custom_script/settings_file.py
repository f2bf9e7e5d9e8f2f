"""The settings file that the agent wrote: reading it, decrypting its protected half, emptying the ones before it."""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import environment, settings
from .environment import Environment
from .errors import MissingDependencyError, SettingsError
from .settings import Settings

_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_DECRYPT_TIMEOUT_SECONDS = 60.0


def read(env: Environment, number: int) -> Settings:
    """Read the settings of a sequence number. Raises SettingsError, MissingDependencyError (no openssl)."""
    path = env.config_folder / f"{number}.settings"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8") from None
    # An agent that has no settings to give writes an empty file.
    handler_settings = _handler_settings(path, text) if text.strip() else {}
    public = _object(handler_settings.get("publicSettings"), f"{path}: publicSettings")
    return settings.parse(public, _protected(env, handler_settings))


def empty_older(env: Environment, number: int) -> None:
    """Empty the settings files before this one, and remove their scripts: both may hold what was protected."""
    for older in environment.settings_numbers(env.config_folder):
        if older < number:
            with (env.config_folder / f"{older}.settings").open("w"):
                pass
    # By what is there: the settings of a version before an update are gone with its folder.
    for script in env.data_folder.glob(f"download/*/{settings.SCRIPT_NAME}"):
        if script.parent.name.isdecimal() and int(script.parent.name) < number:
            script.unlink()


def _handler_settings(path: Path, text: str) -> Mapping[str, Any]:
    try:
        document: Any = json.loads(text)
        inner = document["runtimeSettings"][0]["handlerSettings"]
    except (ValueError, LookupError, TypeError, RecursionError):
        # The parser's own words could quote a value.
        raise SettingsError(f"{path} is not JSON of the form runtimeSettings[0].handlerSettings") from None
    return _object(inner, f"{path}: handlerSettings")


def _object(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{where} is not an object")
    return value


def _protected(env: Environment, handler_settings: Mapping[str, Any]) -> Mapping[str, Any]:
    encrypted = handler_settings.get("protectedSettings")
    thumbprint = handler_settings.get("protectedSettingsCertThumbprint")
    if encrypted is None or encrypted == "":
        return {}
    if not isinstance(thumbprint, str) or not _THUMBPRINT.fullmatch(thumbprint):
        raise SettingsError("protectedSettingsCertThumbprint is not the SHA-1 of a certificate in 40 hex digits")
    try:
        if not isinstance(encrypted, str):
            raise SettingsError("protectedSettings is not a string")
        message = base64.b64decode(encrypted)
    except (binascii.Error, ValueError):
        raise SettingsError("protectedSettings is not base64") from None
    certificate, key = (env.lib_folder / f"{thumbprint.upper()}{suffix}" for suffix in (".crt", ".prv"))
    for file in (certificate, key):
        if not file.is_file():
            raise SettingsError(f"the protected settings are for a certificate that this machine has not: no {file}")
    try:
        plain: Any = json.loads(_decrypt(message, certificate, key))
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        raise SettingsError("the protected settings, decrypted, are not a JSON object")
    return plain


def _decrypt(message: bytes, certificate: Path, key: Path) -> bytes:
    said = ""
    # Not every openssl in the field has cms; smime is the older command for the same messages.
    for command in ("cms", "smime"):
        arguments = ["-inform", "DER", "-decrypt", "-recip", str(certificate), "-inkey", str(key)]
        try:
            result = subprocess.run(
                ["openssl", command, *arguments],
                input=message,
                capture_output=True,
                check=False,
                timeout=_DECRYPT_TIMEOUT_SECONDS,
            )
        except FileNotFoundError:
            raise MissingDependencyError(
                "openssl is not on PATH; it is needed to decrypt the protected settings"
            ) from None
        except subprocess.TimeoutExpired:
            raise SettingsError(f"openssl {command} did not end in {_DECRYPT_TIMEOUT_SECONDS:.0f} s") from None
        if result.returncode == 0:
            return result.stdout
        said = said or result.stderr.decode(errors="backslashreplace").strip()[-300:]
    raise SettingsError(f"the protected settings can't be decrypted with {certificate.name}; openssl says: {said}")
