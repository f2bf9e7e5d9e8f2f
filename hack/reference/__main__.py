"""Write the reference anew: ``python3 -m reference``."""

from __future__ import annotations

import sys

from reference.render import FOLDER, pages


def main() -> int:
    """Write every page, and remove what is none any more; return the exit status."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
        print(f"wrote {FOLDER / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
