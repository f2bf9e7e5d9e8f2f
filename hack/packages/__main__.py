"""Build every package under extensions/ (``make packages``)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from packages import PackageError, build_all, read_key
from packages.source import CATALOG_FILE

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Build what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="packages", description=__doc__)
    parser.add_argument("sources", nargs="*", type=Path, help="source folders (default: all under extensions/)")
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "packages", help="where to put the packages")
    parser.add_argument(
        "--url-base",
        default="http://localhost:8000",
        help="address that the packages will be served under (default: %(default)s, as python3 -m http.server has it)",
    )
    parser.add_argument(
        "--sign-with", type=Path, metavar="KEY", help="sign them with a private key (Ed25519, PEM); default: unsigned"
    )
    options = parser.parse_args(arguments)
    sources = options.sources or sorted(path.parent for path in (_ROOT / "extensions").glob(f"*/{CATALOG_FILE}"))
    try:
        key = read_key(options.sign_with) if options.sign_with is not None else None
        built = build_all(sources, options.out, options.url_base, key)
    except (PackageError, OSError) as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    for package in built:
        print(f"{package.zip_path}  {package.size} bytes  sha256 {package.sha256}")
        print(package.manifest_path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
