"""Control groups: what is decided, what is placed where, and what is said of limits that can't be applied."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmext_agent import cgroups
from vmext_agent.cgroups import CGROUP2, NONE, SYSTEMD, Cgroups
from vmext_agent.goal_state import Limits

LIMITS = Limits(cpu_millicores=1500, memory_bytes=1 << 28)


def machine(tmp_path: Path, mounts: str, *, systemd: bool = False, runner: bool = False) -> Cgroups:
    """Decide for a machine whose files say this; what its systemctl is told is in `told`."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    (tmp_path / "bin").mkdir()
    if systemd:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
    if runner:
        for name in ("systemd-run", "systemctl"):
            (tmp_path / "bin" / name).write_text(
                f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ ! -e {tmp_path}/refuses ]\n'
            )
            (tmp_path / "bin" / name).chmod(0o755)
    return cgroups.decide(str(tmp_path / "proc"), str(tmp_path / "run"), f"/nowhere:{tmp_path}/bin")


def mount(folder: Path, kind: str = "cgroup2") -> str:
    folder.mkdir(exist_ok=True)
    return f"23 30 0:7 / /proc rw - proc proc rw\n30 23 0:26 / {folder} rw,nosuid shared:4 - {kind} {kind} rw\n"


def test_systemd_comes_first_then_a_cgroup_v2_then_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "unified"
    kinds = {}
    for name, options in {
        "both": {"systemd": True, "runner": True},
        "no systemd-run": {"systemd": True},
        "no systemd": {"runner": True},
    }.items():
        (tmp_path / name).mkdir()
        kinds[name] = machine(tmp_path / name, mount(folder), **options).kind
    (tmp_path / "v1").mkdir()
    kinds["v1"] = machine(tmp_path / "v1", mount(tmp_path / "memory", "cgroup")).kind

    assert kinds == {"both": SYSTEMD, "no systemd-run": CGROUP2, "no systemd": CGROUP2, "v1": NONE}


def test_a_machine_without_any_says_so_of_every_limit(tmp_path: Path) -> None:
    found = machine(tmp_path, "")

    assert found.place("Test.Tracer", "1.2.3") == ("", ())
    assert found.limit("Test.Tracer", "1.2.3", LIMITS) == (
        "the cpu limit of 1500m can't be applied: this machine has no control groups to use",
        "the memory limit of 268435456 bytes can't be applied: this machine has no control groups to use",
    )


def test_a_scope_has_a_name_of_its_own_and_is_stopped_after_the_agent(tmp_path: Path) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"), systemd=True, runner=True)

    words = [found.place("Test.Tracer", "1.2.3").scope for _ in range(2)]

    first = words[0]
    assert first[0] == f"{tmp_path}/bin/systemd-run"
    assert first[1:5] == ("--scope", "--quiet", "--collect", "--slice=vmext-Test.Tracer_1.2.3.slice")
    assert first[6:] == ("--property=Before=vmext-agent.service",)
    assert first[5] != words[1][5]


def told(tmp_path: Path) -> list[str]:
    path = tmp_path / "told"
    return path.read_text().splitlines() if path.exists() else []


def test_under_systemd_limits_are_the_slices_which_all_commands_of_a_handler_share(tmp_path: Path) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"), systemd=True, runner=True)

    assert found.limit("Test.Tracer", "1.2.3", Limits()) == ()
    assert told(tmp_path) == []
    assert found.limit("Test.Tracer", "1.2.3", LIMITS) == ()
    assert told(tmp_path) == ["set-property --runtime vmext-Test.Tracer_1.2.3.slice CPUQuota=150% MemoryMax=268435456"]


def test_limits_that_are_no_more_are_taken_back(tmp_path: Path) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"), systemd=True, runner=True)
    # Where systemd keeps what it was told.
    (tmp_path / "run/systemd/system.control/vmext-Test.Tracer_1.2.3.slice.d").mkdir(parents=True)

    assert found.limit("Test.Tracer", "1.2.3", Limits()) == ()

    assert told(tmp_path) == ["set-property --runtime vmext-Test.Tracer_1.2.3.slice CPUQuota= MemoryMax=infinity"]


def test_a_systemd_that_takes_no_limits_is_told_of(tmp_path: Path) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"), systemd=True, runner=True)
    (tmp_path / "refuses").touch()

    assert found.limit("Test.Tracer", "1.2.3", LIMITS) == (
        "the cpu limit of 1500m can't be applied: systemd does not take it",
        "the memory limit of 268435456 bytes can't be applied: systemd does not take it",
    )


@pytest.mark.parametrize("systemd", [True, False])
def test_what_the_kernel_ended_for_memory_is_read_with_the_limit(tmp_path: Path, systemd: bool) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"), systemd=systemd, runner=systemd)
    below = "vmext.slice/vmext-Test.Tracer_1.2.3.slice" if systemd else "vmext/Test.Tracer-1.2.3"
    folder = tmp_path / "unified" / below
    folder.mkdir(parents=True, exist_ok=True)

    assert found.memory("Test.Tracer", "1.2.3") == (0, 0)
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    (folder / "memory.max").write_text("268435456\n")
    assert found.memory("Test.Tracer", "1.2.3") == (2, 268435456)
    (folder / "memory.max").write_text("max\n")
    assert found.memory("Test.Tracer", "1.2.3") == (2, 0)


def test_limits_are_written_where_the_kernel_takes_them(tmp_path: Path) -> None:
    root = tmp_path / "unified"
    found = machine(tmp_path, mount(root))
    folder = root / "vmext" / "Test.Tracer-1.2.3"
    folder.mkdir()
    for name in ("cpu.max", "memory.max"):
        (folder / name).touch()

    assert found.place("Test.Tracer", "1.2.3").procs == f"{folder}/cgroup.procs"
    assert found.limit("Test.Tracer", "1.2.3", LIMITS) == ()
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert (folder / "memory.max").read_text() == "268435456"


def test_a_controller_that_is_missing_is_named(tmp_path: Path) -> None:
    found = machine(tmp_path, mount(tmp_path / "unified"))

    notes = found.limit("Test.Tracer", "1.2.3", LIMITS)

    assert notes == (
        "the cpu limit of 1500m can't be applied: this machine's cgroup v2 gives it no cpu controller",
        "the memory limit of 268435456 bytes can't be applied: this machine's cgroup v2 gives it no memory controller",
    )
    assert found.limit("Test.Tracer", "1.2.3", Limits()) == ()


@pytest.mark.parametrize("handler", ["../../etc", "a b", "a\n--property=x", ""])
def test_a_name_that_no_handler_has_gets_no_group(tmp_path: Path, handler: str) -> None:
    for options in ({}, {"systemd": True, "runner": True}):
        folder = tmp_path / str(len(options))
        folder.mkdir()
        found = machine(folder, mount(tmp_path / "unified"), **options)

        assert found.place(handler, "1") == ("", ())
        assert found.limit(handler, "1", Limits()) == ()
        assert found.members(handler, "1") == []
        found.remove(handler, "1")


@contextlib.contextmanager
def real() -> Iterator[Cgroups]:
    """Give this machine's own cgroup v2, where there is one that can be written."""
    found = cgroups.decide(run="/nowhere")
    if found.kind != CGROUP2:
        pytest.skip("this machine has no cgroup v2 that can be written")
    try:
        yield found
    finally:
        found.remove("Test.Cgroups", "1.2.3")
        with contextlib.suppress(OSError):
            os.rmdir(f"{found._root}/vmext")


def test_a_command_and_its_children_are_found_in_the_kernels_group() -> None:
    with real() as found:
        procs = found.place("Test.Cgroups", "1.2.3").procs

        shell = subprocess.Popen(
            ["sh", "-c", f"echo 0 > {procs}; sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True
        )
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        members = found.members("Test.Cgroups", "1.2.3")
        for pid in members:
            os.kill(pid, 9)
        shell.wait()
        shell.stdout.close()

        assert sorted(members) == sorted([shell.pid, child])


def test_the_kernels_answer_to_a_limit_is_told() -> None:
    with real() as found:
        notes = found.limit("Test.Cgroups", "1.2.3", LIMITS)
        folder = Path(found.place("Test.Cgroups", "1.2.3").procs).parent

        for controller in ("cpu", "memory"):
            has = (folder / f"{controller}.max").exists()
            assert has != any(controller in note for note in notes), notes
