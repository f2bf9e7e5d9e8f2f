"""Make sure that helm is there, and say where: ``python3 -m helm``."""

from __future__ import annotations

import sys

from control_plane import ControlPlaneError
from helm.sources import obtain


def main() -> int:
    """Obtain helm; return the exit status."""
    try:
        obtain(lambda line: print(line, flush=True))
    except ControlPlaneError as error:
        print(f"helm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("helm: interrupted; nothing of it is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
