"""What a fleet is declared to be: machines over namespaces, five extensions on each, and a catalog for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from vmext_operator.api import API_VERSION, GROUP, VERSION

BASE = f"/apis/{GROUP}/{VERSION}"
PUBLISHER = "Bench"
EACH = 5
#: The type of which one machine has many.
CANARY = "Canary"
#: A namespace holds no more of them (docs/concepts.md): every Role and RoleBinding in it makes requests slower.
MACHINES_PER_NAMESPACE = 2500


class Machine(NamedTuple):
    """One machine of the fleet."""

    namespace: str
    name: str

    def path(self, plural: str, name: str = "") -> str:
        """Return the path of an object of this machine's namespace; by default of the one with the machine's name."""
        return f"{BASE}/namespaces/{self.namespace}/{plural}/{name or self.name}"

    def extension_name(self, number: int) -> str:
        """Return the name of one of its extensions, 1 to 5."""
        return f"{self.name}-e{number}"

    def manifest(self) -> dict[str, Any]:
        """Return the VirtualMachine."""
        metadata = {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": "VirtualMachine", "metadata": metadata}

    def extension(self, number: int, *, run: int = 0, **spec: Any) -> dict[str, Any]:
        """Return one of its extensions, as the `run`-th change of it has it."""
        return {
            "apiVersion": API_VERSION,
            "kind": "VirtualMachineExtension",
            "metadata": {"name": self.extension_name(number), "namespace": self.namespace},
            "spec": {
                "vmName": self.name,
                "publisher": PUBLISHER,
                "type": f"Extension{number}",
                "typeHandlerVersion": "1.0",
                "settings": {"commandToExecute": f"/usr/local/bin/configure --step {number} --run {run}"},
                **spec,
            },
        }


def machines(count: int) -> list[Machine]:
    """Return that many machines."""
    return [Machine(f"fleet-{number // MACHINES_PER_NAMESPACE}", f"vm-{number:05}") for number in range(count)]


def catalog() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the catalog's entries with their paths. No machine ever downloads them."""
    kinds = [*(f"Extension{number}" for number in range(1, EACH + 1)), CANARY]
    for number, kind in enumerate(kinds):
        name = f"{PUBLISHER}.{kind}-1.0.0".lower()
        package = {"urls": ["http://127.0.0.1:9/package.zip"], "sha256": f"{number}" * 64, "sizeBytes": 1000}
        spec = {"publisher": PUBLISHER, "type": kind, "version": "1.0.0", "package": package}
        yield (
            f"{BASE}/virtualmachineextensionimages/{name}",
            {
                "apiVersion": API_VERSION,
                "kind": "VirtualMachineExtensionImage",
                "metadata": {"name": name},
                "spec": spec | {"multiConfig": kind == CANARY},
            },
        )
