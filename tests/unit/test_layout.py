"""Rules of the house that no tool holds by itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_folder_operator_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_file_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    requirements = re.findall(r"^[a-z0-9][^\n]*==[^\n]*$", text, re.MULTILINE)
    assert requirements
    assert text.count("--hash=sha256:") >= len(requirements)


def test_the_agent_imports_nothing_but_the_standard_library() -> None:
    check = (
        "import pkgutil, importlib, sys; before = set(sys.modules); import vmext_agent\n"
        "for module in pkgutil.walk_packages(vmext_agent.__path__, 'vmext_agent.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "roots = {name.split('.')[0] for name in set(sys.modules) - before} - {'vmext_agent'}\n"
        "print(sorted(root for root in roots if root not in sys.stdlib_module_names))\n"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT / "agent", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
