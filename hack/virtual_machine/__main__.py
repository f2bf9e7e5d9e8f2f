"""Make sure that what virtual machines need is there: ``python3 -m virtual_machine``."""

from __future__ import annotations

import sys

from control_plane import ControlPlaneError
from virtual_machine import VirtualMachineError, host, obtain


def main() -> int:
    """Obtain the programs and the disk; return the exit status."""

    def report(line: str) -> None:
        print(line, flush=True)

    try:
        host.prepare(host.TO_RUN, report)
        obtain(report)
    except (VirtualMachineError, ControlPlaneError) as error:
        print(f"virtual machine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("virtual machine: interrupted; nothing of it is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
