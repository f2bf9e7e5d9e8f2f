"""Plans, and machines that carry them out, with as little said as a test needs to say."""

from __future__ import annotations

from unit.agent import goals
from unit.agent.goals import Folder, disk, entry, record
from unit.agent.model import Machine
from vmext_agent import plan, records
from vmext_agent.records import Disk
from vmext_agent.steps import Step

INSTALLED, ENABLED = Folder(records.INSTALLED), Folder(records.ENABLED)
NOT_INSTALLED = Folder(records.NOT_INSTALLED)
NEW = entry(version="1.1.0", number=2)
UPDATE = ["begin 1.1.0", "disable 1.0.0", "carry 1.1.0", "update 1.1.0", "uninstall 1.0.0", "aside 1.0.0"]


def planned(wanted: goals.Goal, before: Disk) -> list[Step]:
    """Return the whole plan."""
    return list(plan.plan(wanted, before))


def kinds(found: list[Step]) -> list[str]:
    """Return ``<kind> <version>`` of each step."""
    return [f"{step.kind} {step.version}" for step in found]


def before_update(**new: object) -> Disk:
    """Return a disk with 1.0.0 enabled, and 1.1.0 (with these fields) unpacked beside it."""
    folders = {"1.0.0": ENABLED, "1.1.0": NOT_INSTALLED._replace(**new)}  # type: ignore[arg-type]
    return disk(record(entry(), enabled=True), folders=folders)


def run(wanted: goals.Goal, before: Disk, fails: dict[str, int] | None = None) -> Machine:
    """Carry out a plan until nothing is left to do."""
    machine = Machine(
        fails=fails or {},
        records=dict(before.records),
        handlers={name: dict(folders) for name, folders in before.handlers.items()},
        moves=dict(before.moves),
        boot=before.boot,
    )
    machine.take(wanted)
    machine.rest()
    return machine
