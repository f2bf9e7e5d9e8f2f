"""The emulator's monitor (QMP): a JSON line for each command, and one for its answer."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from virtual_machine.errors import VirtualMachineError

_ANSWER_S = 60.0


class Monitor:
    """A connection to the monitor of one machine.

    Args:
        path: its socket.

    Raises:
        OSError: there is none yet.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_S)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # By way of the folder's handle, since the path itself may be too long for a socket's.
            self._socket.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            self._socket.close()
            raise
        finally:
            os.close(folder)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # its greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> Any:
        """Run a command and return its answer. Raises VirtualMachineError where it is refused, or the machine ends."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            while True:
                line = self._lines.readline()
                if not line:
                    raise VirtualMachineError(f"{command}: the emulator has ended")
                answer = json.loads(line)
                # Events come between.
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise VirtualMachineError(f"{command}: {answer['error'].get('desc')}")
        except OSError as error:
            raise VirtualMachineError(f"{command}: the emulator does not answer: {error}") from error

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._lines.close()
        self._socket.close()
