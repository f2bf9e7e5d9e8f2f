"""What tells one machine from another: read from the running system, only what can be relied on.

==================  ================================================  =============================================
fact                where it is read                                  left out
==================  ================================================  =============================================
``productUUID``     ``/sys/class/dmi/id/product_uuid``                in containers: it is the host's
``boardSerial``     ``/sys/firmware/devicetree/base/serial-number``   in containers
``machineID``       ``/etc/machine-id``                               where it is mounted over: it may be of this
                                                                      boot alone, or the host's
``bootDisk``        serial number of the disk under ``/``             in containers
``rootFileSystem``  UUID of the file system of ``/``                  in containers
``instanceID``      ``/run/cloud-init/instance-data.json``
==================  ================================================  =============================================

A value that many machines share (``same_machine.usable``) is as good as none. No address, host name, memory size or
kernel is among them: these change in the life of a machine.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, same_machine

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 1 << 12
_INSTANCE_LIMIT = 4 << 20
_CONTAINER = ("run/systemd/container", "run/.containerenv", ".dockerenv")
#: A disk under volumes under volumes.
_DEPTH = 8
_SERIAL = ("serial", "device/serial", "device/cid", "device/wwid", "wwid")


def find(root: str = "/") -> Mapping[str, str]:
    """Return the facts of the machine whose files are under `root`, each in its usual form; never raises."""
    base = root.rstrip("/")
    found = {"machineID": _machine_id(base), "instanceID": _instance_id(base)}
    if not any(os.path.exists(f"{base}/{path}") for path in _CONTAINER):
        found["productUUID"] = _text(f"{base}/sys/class/dmi/id/product_uuid")
        found["boardSerial"] = _text(f"{base}/sys/firmware/devicetree/base/serial-number")
        device = _root_device(base)
        found["bootDisk"] = _disk_serial(base, device) if device else ""
        found["rootFileSystem"] = _file_system(base, device) if device else ""
    usable = {name: same_machine.usable(name, value) for name, value in found.items()}
    return {name: value for name, value in usable.items() if value}


def _text(path: str) -> str:
    try:
        return files.read(path, _LIMIT).decode("ascii", "replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def _machine_id(base: str) -> str:
    mounted = {fields[4] for fields in _mounts(base)}
    return "" if "/etc/machine-id" in mounted else _text(f"{base}/etc/machine-id")


def _instance_id(base: str) -> str:
    try:
        document = json.loads(files.read(f"{base}/run/cloud-init/instance-data.json", _INSTANCE_LIMIT))
        return str(document["v1"]["instance_id"] or "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _mounts(base: str) -> list[list[str]]:
    # Not read by its size: what is under /proc has none.
    try:
        with open(f"{base}/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return []
    return [fields for fields in (line.split() for line in lines) if len(fields) > 4]


def _root_device(base: str) -> str:
    """Return ``major:minor`` of what is mounted as /, empty for none that is a block device."""
    found = [fields[2] for fields in _mounts(base) if fields[4] == "/"]
    return found[-1] if found and not found[-1].startswith("0:") else ""


def _disk_serial(base: str, device: str) -> str:
    folder = os.path.realpath(f"{base}/sys/dev/block/{device}")
    for _ in range(_DEPTH):
        try:
            below = sorted(os.listdir(f"{folder}/slaves"))
        except OSError:
            below = []
        if not below:
            break
        folder = os.path.realpath(f"{folder}/slaves/{below[0]}")
    if os.path.exists(f"{folder}/partition"):
        folder = os.path.dirname(folder)
    return next((text for text in (_text(f"{folder}/{name}") for name in _SERIAL) if text), "")


def _file_system(base: str, device: str) -> str:
    folder = f"{base}/dev/disk/by-uuid"
    name = os.path.basename(os.path.realpath(f"{base}/sys/dev/block/{device}"))
    try:
        links = sorted(os.listdir(folder))
    except OSError:
        return ""
    for link in links:
        if os.path.basename(os.path.realpath(f"{folder}/{link}")) == name and re.fullmatch(r"[0-9A-Fa-f-]+", link):
            return link
    return ""
