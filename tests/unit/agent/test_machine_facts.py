"""What is read of a machine, from a folder that looks like one."""

from __future__ import annotations

import json
from pathlib import Path

from vmext_agent import machine_facts

UUID, ID = "4C4C4544-0042-3510-8052-B4C04F564433", "3d1219c7c4c5404aaa1f6d2a48adfda4"


def machine(root: Path, *, mounts: str = "22 1 8:2 / / rw - ext4 /dev/sda2 rw\n") -> None:
    """Make a folder that looks like a machine with one disk of two parts."""
    disk = root / "sys/devices/pci0/block/sda"
    (disk / "sda2").mkdir(parents=True)
    (disk / "sda2/partition").write_text("2\n")
    (disk / "device").mkdir()
    (disk / "device/serial").write_text("  S3YJNX0M700123 \n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/8:2").symlink_to("../../devices/pci0/block/sda/sda2")
    (root / "dev/disk/by-uuid").mkdir(parents=True)
    (root / "dev/disk/by-uuid/0A1B-2C3D").symlink_to("../../sda1")
    (root / "dev/disk/by-uuid/0a1b2c3d-1111-4222-8333-444455556666").symlink_to("../../sda2")
    for path, text in {
        "sys/class/dmi/id/product_uuid": f"{UUID}\n",
        "etc/machine-id": f"{ID}\n",
        "proc/self/mountinfo": mounts,
        "run/cloud-init/instance-data.json": json.dumps({"v1": {"instance_id": "i-0abc12"}}),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_a_machine_has_all_of_them(tmp_path: Path) -> None:
    machine(tmp_path)

    assert machine_facts.find(str(tmp_path)) == {
        "productUUID": UUID.lower(),
        "machineID": ID,
        "bootDisk": "S3YJNX0M700123",
        "rootFileSystem": "0a1b2c3d-1111-4222-8333-444455556666",
        "instanceID": "i-0abc12",
    }


def test_volumes_are_followed_down_to_the_disk(tmp_path: Path) -> None:
    machine(tmp_path, mounts="22 1 252:0 / / rw - ext4 /dev/mapper/vg-root rw\n")
    volume = tmp_path / "sys/devices/virtual/block/dm-0"
    (volume / "slaves").mkdir(parents=True)
    (volume / "slaves/sda2").symlink_to("../../../../pci0/block/sda/sda2")
    (tmp_path / "sys/dev/block/252:0").symlink_to("../../devices/virtual/block/dm-0")

    assert machine_facts.find(str(tmp_path))["bootDisk"] == "S3YJNX0M700123"


def test_in_a_container_what_is_the_hosts_is_left_out(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "run/systemd").mkdir()
    (tmp_path / "run/systemd/container").write_text("lxc")

    assert machine_facts.find(str(tmp_path)) == {"machineID": ID, "instanceID": "i-0abc12"}


def test_a_machine_id_that_is_mounted_over_may_be_of_this_boot_alone(tmp_path: Path) -> None:
    root = "22 1 0:31 / / ro - overlay overlay rw\n"
    machine(tmp_path, mounts=f"{root}31 22 0:25 /machine-id /etc/machine-id ro - tmpfs run rw\n")

    assert "machineID" not in machine_facts.find(str(tmp_path))


def test_a_board_tells_its_serial_number(tmp_path: Path) -> None:
    path = tmp_path / "sys/firmware/devicetree/base/serial-number"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"10000000a1b2c3d4\0")

    assert machine_facts.find(str(tmp_path)) == {"boardSerial": "10000000a1b2c3d4"}


def test_nothing_and_rubbish_are_no_facts(tmp_path: Path) -> None:
    assert machine_facts.find(str(tmp_path)) == {}
    machine(tmp_path, mounts="rubbish\n\xff\n")
    (tmp_path / "etc/machine-id").write_bytes(b"\xff\xfe\0")
    (tmp_path / "run/cloud-init/instance-data.json").write_text("[1]")
    (tmp_path / "sys/class/dmi/id/product_uuid").unlink()
    (tmp_path / "sys/class/dmi/id/product_uuid").mkdir()

    assert machine_facts.find(str(tmp_path)) == {}


def test_this_very_machine_can_be_read() -> None:
    assert all(machine_facts.find().values())
