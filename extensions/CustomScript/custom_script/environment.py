"""Where an agent keeps this handler's files, and which sequence number it asks for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import HandlerError, SettingsError


class Environment(NamedTuple):
    """The folders out of HandlerEnvironment.json."""

    install_folder: Path
    log_folder: Path
    config_folder: Path
    status_folder: Path

    @property
    def lib_folder(self) -> Path:
        """Return the agent's own folder: /var/lib/waagent, with the certificates in it."""
        return self.config_folder.parent.parent

    @property
    def data_folder(self) -> Path:
        """Return the folder that outlives a version of the handler, at the place that Azure's CustomScript has it."""
        return self.lib_folder / "custom-script"

    def download_folder(self, number: int) -> Path:
        """Return the folder that the script of a sequence number runs in."""
        return self.data_folder / "download" / str(number)


def read(install_folder: Path) -> Environment:
    """Read HandlerEnvironment.json of the install folder. Raises HandlerError."""
    path = install_folder / "HandlerEnvironment.json"
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        folders = document[0]["handlerEnvironment"]
        values = [folders[name] for name in ("logFolder", "configFolder", "statusFolder")]
    except OSError as error:
        raise HandlerError(f"can't read {path}, which the agent writes before any command: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise HandlerError(f"{path} is no array of one handlerEnvironment: {error!r}") from None
    if not all(isinstance(value, str) and os.path.isabs(value) for value in values):
        raise HandlerError(f"{path}: logFolder, configFolder and statusFolder must be absolute paths")
    log_folder, config_folder, status_folder = (Path(os.path.normpath(value)) for value in values)
    return Environment(install_folder, log_folder, config_folder, status_folder)


def settings_numbers(config_folder: Path) -> list[int]:
    """Return the sequence numbers that have a settings file, lowest first."""
    names = [path.stem for path in config_folder.glob("*.settings")]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def sequence_number(variables: Mapping[str, str], config_folder: Path) -> int:
    """Return the number that the agent asks for, else the highest that has settings. Raises SettingsError."""
    text = variables.get("ConfigSequenceNumber", "")
    if text.isascii() and text.isdigit():
        return int(text)
    numbers = settings_numbers(config_folder)
    if not numbers:
        raise SettingsError(f"there is no settings file in {config_folder} and no ConfigSequenceNumber")
    return numbers[-1]


def last_number(install_folder: Path) -> int | None:
    """Return the sequence number that ran last, None when none did. Raises HandlerError."""
    path = install_folder / "mrseq"
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise HandlerError(f"{path} holds no number; remove it to let the script run again") from None


def set_last_number(install_folder: Path, number: int) -> None:
    """Note that the script of a sequence number is started, and so never again."""
    replace_file(install_folder / "mrseq", str(number).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Put a file of mode 0600 in place so that a reader sees the old one or the new one, also after a power cut."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
