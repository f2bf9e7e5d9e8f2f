"""Argo CD's view of an object: the health scripts of examples/gitops/argocd, run as Argo CD runs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from lupa import lua51

from development.api import Api

ROOT = Path(__file__).resolve().parents[2]
CUSTOMIZATIONS = ROOT / "examples" / "gitops" / "argocd" / "resource_customizations" / "vmext.dev"
KINDS = ("VirtualMachine", "VirtualMachineExtension")
_LOOKED_AT = ("Ready", "Reconciling", "Stalled", "Paused")


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


def exported(api: Api, kind: str, state: str, name: str) -> tuple[str, str]:
    """Compare an object with the one in that state that is kept in testdata; return its health and the message.

    With VMEXT_EXPORT set it is kept anew.
    """
    obj = api.get(kind, name)
    assert obj is not None, f"{kind} {name} is gone"
    obj["metadata"].pop("managedFields", None)
    kept = CUSTOMIZATIONS / kind / "testdata" / f"{state}.yaml"
    if os.environ.get("VMEXT_EXPORT"):
        # What is of the machine that this ran on says nothing to a reader.
        obj["metadata"]["namespace"] = "site"
        if "guest" in obj["status"]:
            obj["status"]["guest"]["kernel"] = "6.1.0"
        kept.write_text(yaml.safe_dump(obj, sort_keys=False, width=120))
    assert _signs(obj) == _signs(yaml.safe_load(kept.read_text())), f"{kept} is of the past; VMEXT_EXPORT=1 renews it"
    return health(obj)


def _signs(obj: dict[str, Any]) -> dict[str, Any]:
    """Return what of an object its health depends on."""
    conditions = obj["status"].get("conditions") or ()
    return {
        "seen": obj["status"]["observedGeneration"] == obj["metadata"]["generation"],
        "deleted": "deletionTimestamp" in obj["metadata"],
        "conditions": {(one["type"], one["status"], one["reason"]) for one in conditions if one["type"] in _LOOKED_AT},
    }
