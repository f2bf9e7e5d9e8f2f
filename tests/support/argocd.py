"""Argo CD's view of an object: the health scripts of examples/gitops/argocd, run as Argo CD runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lupa import lua51

ROOT = Path(__file__).resolve().parents[2]
CUSTOMIZATIONS = ROOT / "examples" / "gitops" / "argocd" / "resource_customizations" / "vmext.dev"
KINDS = ("VirtualMachine", "VirtualMachineExtension")


def script(kind: str) -> str:
    """Return the health script of a kind."""
    return (CUSTOMIZATIONS / kind / "health.lua").read_text()


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """Return the health of an object and its message, by the script of its kind.

    Argo CD runs Lua 5.1, gives the object as the global ``obj``, and takes the table that the script returns.
    """
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=False)
    # Argo CD opens the base and the table library alone: no strings, no files, no processes.
    for forbidden in ("string", "math", "coroutine", "os", "io", "require", "package", "dofile", "debug", "python"):
        lua.globals()[forbidden] = None
    lua.globals()["obj"] = lua.table_from(obj, recursive=True)
    answer = lua.execute(script(obj["kind"]))
    return str(answer["status"]), str(answer["message"])
