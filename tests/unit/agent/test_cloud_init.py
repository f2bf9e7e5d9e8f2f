"""How far cloud-init is, by files in its own form."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vmext_agent import cloud_init

STAGE: dict[str, object] = {"errors": [], "finished": None, "recoverable_errors": {}, "start": None}
NOT_BEGUN = {"init": STAGE, "init-local": STAGE, "modules-config": STAGE, "modules-final": STAGE}
RUNNING = {"v1": {"datasource": None, "stage": "init-local", **NOT_BEGUN}}
DONE = {"v1": {"datasource": "DataSourceNoCloud", "errors": []}}


def write(root: Path, name: str, content: object) -> None:
    """Write a file where cloud-init does: on disk, with a link to it in /run."""
    data, run = root / "var/lib/cloud/data", root / "run/cloud-init"
    data.mkdir(parents=True, exist_ok=True)
    run.mkdir(parents=True, exist_ok=True)
    (data / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    (run / name).symlink_to(f"../../var/lib/cloud/data/{name}")


def mark(root: Path, name: str) -> None:
    (root / "run/cloud-init").mkdir(parents=True, exist_ok=True)
    (root / "run/cloud-init" / name).touch()


def test_a_machine_without_it(tmp_path: Path) -> None:
    assert cloud_init.state(str(tmp_path)) == "absent"


def test_it_runs_from_its_first_status_to_its_result(tmp_path: Path) -> None:
    write(tmp_path, "status.json", RUNNING)
    assert cloud_init.state(str(tmp_path)) == "running"
    write(tmp_path, "result.json", DONE)
    assert cloud_init.state(str(tmp_path)) == "done"


def test_between_two_stages_it_runs(tmp_path: Path) -> None:
    write(tmp_path, "status.json", {"v1": {"datasource": None, "stage": None, **NOT_BEGUN}})

    assert cloud_init.state(str(tmp_path)) == "running"


def test_what_the_boot_will_start_counts_as_running(tmp_path: Path) -> None:
    mark(tmp_path, "enabled")

    assert cloud_init.state(str(tmp_path)) == "running"


def test_errors_are_told(tmp_path: Path) -> None:
    write(tmp_path, "status.json", RUNNING)
    write(tmp_path, "result.json", {"v1": {"datasource": None, "errors": ["('scripts_user', RuntimeError())"]}})

    assert cloud_init.state(str(tmp_path)) == "error"


def test_it_is_off(tmp_path: Path) -> None:
    write(tmp_path, "status.json", RUNNING)
    mark(tmp_path, "disabled")

    assert cloud_init.state(str(tmp_path)) == "absent"


def test_what_a_former_boot_left_on_disk_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, "result.json", DONE)
    (tmp_path / "run/cloud-init/result.json").unlink()
    mark(tmp_path, "enabled")

    assert cloud_init.state(str(tmp_path)) == "running"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"x" * (2 << 20)])
def test_a_status_that_can_not_be_read_holds_nobody_up(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "status.json", content)

    assert cloud_init.state(str(tmp_path)) in ("absent", "error")


@pytest.mark.parametrize("content", [{}, {"v1": None}, {"v1": {"errors": None}}, {"v1": {}}])
def test_a_result_of_another_form_is_an_end_all_the_same(tmp_path: Path, content: object) -> None:
    write(tmp_path, "status.json", RUNNING)
    write(tmp_path, "result.json", content)

    assert cloud_init.state(str(tmp_path)) == "done"


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_result_that_can_not_be_read_is_an_end_too(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "status.json", RUNNING)
    write(tmp_path, "result.json", content)

    assert cloud_init.state(str(tmp_path)) == "error"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    os.mkfifo(tmp_path / "run/cloud-init/status.json")

    assert cloud_init.state(str(tmp_path)) == "absent"
