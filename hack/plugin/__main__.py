"""Build the plugin (``make plugin``): its wheel, the one file ``kubectl-vmext``, and kubectl's hook for completion."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import sysconfig
import tempfile
import zipapp
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_HOOK = """#!/bin/sh
# kubectl asks this when somebody presses Tab after `kubectl vmext`.
exec kubectl-vmext __complete "$@"
"""
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> int:
    """Build what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="plugin", description=__doc__)
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "plugin", help="where to put it")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    try:
        wheel = build_wheel(out)
        build_file(wheel, out)
    except subprocess.CalledProcessError as error:
        print(f"plugin: {' '.join(map(str, error.cmd[3:6]))} failed; pip says why above", file=sys.stderr)
        return 1
    for path in sorted(out.iterdir()):
        print(path)
    return 0


def build_wheel(out: Path) -> Path:
    """Build the wheel; return it."""
    for old in out.glob("kubectl_vmext-*.whl"):
        old.unlink()
    subprocess.run([*_PIP, "wheel", "--no-deps", "--wheel-dir", out, _ROOT / "operator" / "plugin"], check=True)
    (wheel,) = out.glob("kubectl_vmext-*.whl")
    return wheel


def build_file(wheel: Path, out: Path) -> Path:
    """Build the one file out of the wheel and what is locked for it; return it."""
    with tempfile.TemporaryDirectory(prefix="vmext-plugin-") as folder:
        site = Path(folder) / "site"
        locked = _ROOT / "requirements" / "plugin.txt"
        subprocess.run(
            [*_PIP, "install", "--no-compile", "--require-hashes", "--target", site, "-r", locked], check=True
        )
        subprocess.run(
            [*_PIP, "install", "--no-compile", "--no-deps", "--upgrade", "--target", site, wheel], check=True
        )
        digest = hashlib.sha256(wheel.read_bytes() + locked.read_bytes()).hexdigest()[:16]
        python = f"{sys.version_info[0]}.{sys.version_info[1]}-{sysconfig.get_platform()}"
        (Path(folder) / "BUILT").write_text(f"{python} {digest}\n")
        (Path(folder) / "__main__.py").write_text((Path(__file__).parent / "start.py").read_text())
        target = out / "kubectl-vmext"
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
        target.chmod(0o755)
    hook = out / "kubectl_complete-vmext"
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    return target


if __name__ == "__main__":
    sys.exit(main())
