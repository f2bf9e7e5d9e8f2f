"""Whether an installation runs on the machine that it was enrolled on: a table of what happens to machines."""

from __future__ import annotations

import pytest

from vmext_agent import same_machine
from vmext_agent.same_machine import Sameness

UUID, OTHER_UUID = "4c4c4544-0042-3510-8052-b4c04f564433", "564d3a2e-7e3f-1c7a-9b5d-2f6a8c0e1d44"
#: What kernels before 4.15, and firmware of another byte order, write for the first.
SWAPPED = "44454C4C-4200-1035-8052-B4C04F564433"
ID, OTHER_ID = "3d1219c7c4c5404aaa1f6d2a48adfda4", "9f86d081884c4d659a2feaa0c55ad015"
MACHINE = {
    "productUUID": UUID,
    "machineID": ID,
    "bootDisk": "S3YJNX0M700123",
    "rootFileSystem": "0a1b2c3d-1111-4222-8333-444455556666",
    "instanceID": "i-0abc12de34f567890",
}
#: A board without DMI, and a machine of a hypervisor that says little.
BOARD = {"boardSerial": "10000000a1b2c3d4", "machineID": ID, "bootDisk": "744a6055534420301000000001"}
BARE = {"machineID": ID}


def but(facts: dict[str, str], **changed: str) -> dict[str, str]:
    """Return facts with some changed; those that are changed to nothing are left out."""
    return {name: value for name, value in (facts | changed).items() if value}


ZERO, PLACEHOLDER = "00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009"
OTHER_DISK, OTHER_SYSTEM = "WD-WX11A7012345", "ffff0000-1111-4222-8333-444455556666"
BUT_UUID, BUT_DISK = but(MACHINE, productUUID=""), but(MACHINE, bootDisk="")


@pytest.mark.parametrize(
    ("what", "noted", "found", "expected"),
    [
        ("nothing happened", MACHINE, MACHINE, "same"),
        ("nothing is known of either", {}, {}, "same"),
        ("nothing was known when it was enrolled", {}, MACHINE, "same"),
        ("nothing can be read now", MACHINE, {}, "same"),
        ("a snapshot, or a backup restored in place", MACHINE, MACHINE, "same"),
        ("a kernel that writes the UUID in capitals", MACHINE, but(MACHINE, productUUID=UUID.upper()), "same"),
        ("firmware of another byte order", MACHINE, but(MACHINE, productUUID=SWAPPED), "same"),
        ("a machine-id of another form", MACHINE, but(MACHINE, machineID=f"{ID[:8]}-{ID[8:]}".upper()), "same"),
        ("the UUID can't be read any more", MACHINE, BUT_UUID, "same"),
        ("firmware that lost its UUID", MACHINE, but(MACHINE, productUUID=ZERO), "same"),
        ("a UUID that was a placeholder", but(MACHINE, productUUID=PLACEHOLDER), MACHINE, "same"),
        ("a machine-id that was not set yet", but(MACHINE, machineID="uninitialized"), MACHINE, "same"),
        ("disks that are only counted", but(MACHINE, bootDisk="QM00001"), but(MACHINE, bootDisk="QM00003"), "same"),
        # What may change in the life of a machine.
        ("a new disk that the old one was copied to", MACHINE, but(MACHINE, bootDisk=OTHER_DISK), "changed"),
        ("a new file system", MACHINE, but(MACHINE, rootFileSystem=OTHER_SYSTEM), "changed"),
        ("the cloud gave another instance ID", MACHINE, but(MACHINE, instanceID="i-0ffffffff"), "changed"),
        ("machine-id made anew", MACHINE, but(MACHINE, machineID=OTHER_ID), "changed"),
        ("machine-id made anew, on the same disk", BUT_UUID, but(BUT_UUID, machineID=OTHER_ID), "changed"),
        ("its disk was put into another machine", MACHINE, but(MACHINE, productUUID=OTHER_UUID), "changed"),
        ("a board's card was changed", BOARD, but(BOARD, bootDisk=OTHER_DISK), "changed"),
        # Another machine.
        ("a clone", MACHINE, but(MACHINE, productUUID=OTHER_UUID, bootDisk=OTHER_DISK), "copy"),
        ("a clone whose disk has no number", BUT_DISK, but(BUT_DISK, productUUID=OTHER_UUID), "copy"),
        ("a clone with nothing but a UUID", {"productUUID": UUID}, {"productUUID": OTHER_UUID}, "copy"),
        ("a clone as advised", MACHINE, but(MACHINE, productUUID=OTHER_UUID, machineID=OTHER_ID), "copy"),
        ("a card copied for another board", BOARD, but(BOARD, boardSerial="10000000ffff", bootDisk=OTHER_DISK), "copy"),
        ("folders copied to a machine that says little", BARE, but(BARE, machineID=OTHER_ID), "copy"),
        (
            "folders copied, under a hypervisor that gives all machines one UUID",
            MACHINE,
            but(MACHINE, machineID=OTHER_ID, rootFileSystem=OTHER_SYSTEM),
            "copy",
        ),
        (
            "folders copied, the UUID is a placeholder",
            but(BARE, productUUID=ZERO),
            but(BARE, productUUID=ZERO, machineID=OTHER_ID),
            "copy",
        ),
        ("all is another", MACHINE, {"productUUID": OTHER_UUID, "machineID": OTHER_ID, "bootDisk": OTHER_DISK}, "copy"),
    ],
)
def test_what_became_of_a_machine(what: str, noted: dict[str, str], found: dict[str, str], expected: str) -> None:
    assert same_machine.compare(noted, found).sameness is Sameness(expected), what


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("productUUID", ""),
        ("productUUID", "Not Settable"),
        ("productUUID", "00000000-0000-0000-0000-000000000000"),
        ("productUUID", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
        ("productUUID", "03000200-0400-0500-0006-000700080009"),
        ("productUUID", "00020003-0004-0005-0006-000700080009"),
        ("machineID", "uninitialized"),
        ("machineID", "b08dfa6083e7567a1921a715000001fb0"),
        ("bootDisk", "QM00001"),
        ("bootDisk", "drive-scsi0"),
        ("bootDisk", "00000000"),
        ("boardSerial", "To be filled by O.E.M."),
        ("boardSerial", "0000000000000000"),
        ("boardSerial", "Default string"),
        ("instanceID", "iid-datasource-none"),
        ("instanceID", "nocloud"),
        ("instanceID", "a\x00b"),
    ],
)
def test_what_many_machines_share_is_no_fact(fact: str, value: str) -> None:
    assert same_machine.usable(fact, value) == ""


def test_one_shared_value_beside_another_never_makes_a_copy() -> None:
    assert same_machine.compare({"productUUID": ZERO}, {"productUUID": PLACEHOLDER}).sameness is Sameness.SAME


def test_both_facts_are_named() -> None:
    found = same_machine.compare(BARE, {"machineID": OTHER_ID})

    assert found.words() == f"machine-id {OTHER_ID}, was {ID}"


def test_what_is_learned_later_is_added_and_what_was_noted_stays() -> None:
    noted = {"machineID": ID, "productUUID": "00000000-0000-0000-0000-000000000000"}

    assert same_machine.complete(noted, {"machineID": OTHER_ID, "productUUID": UUID, "bootDisk": "X1"}) == {
        "machineID": ID,
        "productUUID": UUID,
        "bootDisk": "X1",
    }
