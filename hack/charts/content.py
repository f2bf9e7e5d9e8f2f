"""The made files: CRDs for the chart vmext, catalog entries for the chart vmext-catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import yaml

from packages import build_all
from packages.source import CATALOG_FILE

ROOT = Path(__file__).resolve().parents[2] / "charts"
_NOTE = "# Made by `make charts` from {source}; edit that.\n"
_CRDS, _CATALOG = "vmext/files/crds", "vmext-catalog/files"
#: The packages' address is the chart's to say: what is left of a URL is the name of its file.
_ADDRESS = "http://address"


def made(root: Path) -> Mapping[PurePosixPath, bytes]:
    """Return what the made files should hold, by their paths in the folder of the charts."""
    house = root.parent
    files = {
        PurePosixPath(_CRDS, crd.name): _NOTE.format(source=f"crds/{crd.name}").encode() + crd.read_bytes()
        for crd in sorted((house / "crds").glob("*.yaml"))
    }
    sources = sorted(path.parent for path in (house / "extensions").glob(f"*/{CATALOG_FILE}"))
    with tempfile.TemporaryDirectory() as folder:
        for source, package in zip(sources, build_all(sources, Path(folder), _ADDRESS), strict=True):
            entry = package.manifest
            entry["spec"]["package"]["urls"] = [package.zip_path.name]
            text = _NOTE.format(source=f"extensions/{source.name}") + yaml.safe_dump(entry, sort_keys=False, width=120)
            files[PurePosixPath(_CATALOG, package.manifest_path.name)] = text.encode()
    return files


def differences(root: Path, wanted: Mapping[PurePosixPath, bytes]) -> list[str]:
    """Return the paths of made files that are not as wanted, or that nobody wants any more."""
    there = {path.relative_to(root) for place in (_CRDS, _CATALOG) for path in (root / place).glob("*")}
    stale = {str(path) for path in there if PurePosixPath(path) not in wanted}
    for path, content in wanted.items():
        file = root / path
        if not file.is_file() or file.read_bytes() != content:
            stale.add(str(path))
    return sorted(stale)


def write(root: Path, wanted: Mapping[PurePosixPath, bytes]) -> list[str]:
    """Bring the made files up to date; return the paths of those that changed."""
    changed = differences(root, wanted)
    for name in changed:
        content = wanted.get(PurePosixPath(name))
        file = root / name
        if content is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return changed
