"""How this program is run as another process of itself."""

from __future__ import annotations

import os
import sys

#: The file that is run stands in for ``-m``, which would need PYTHONPATH to find this package.
_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


def command(*arguments: str) -> list[str]:
    """Return the command line: without what a site may have put into every Python of the machine."""
    return [sys.executable, "-I", "-S", _FILE, *arguments]
