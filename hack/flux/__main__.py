"""Make sure that Flux's controllers are there: ``python3 -m flux``."""

from __future__ import annotations

import sys

from control_plane import ControlPlaneError
from flux.sources import obtain


def main() -> int:
    """Obtain them; return the exit status."""
    try:
        obtain(lambda line: print(line, flush=True))
    except ControlPlaneError as error:
        print(f"flux: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("flux: interrupted; nothing of it is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
