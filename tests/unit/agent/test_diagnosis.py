"""What exit codes mean: every code is one that the shell really gave for the file that is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmext_agent import diagnosis
from vmext_agent.handler import PATH

AARCH64, X86_64 = b"\xb7\0", b"\x3e\0"
FOREIGN = X86_64 if os.uname().machine != "x86_64" else AARCH64


def explained(folder: Path, content: bytes, mode: int = 0o755, *, expected: int, name: str = "handler.py") -> str:
    """Run a file as a command is run, and return the words for what came of it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    line = f"{path} install"
    ran = subprocess.run(["sh", "-c", line], cwd=folder, env={"PATH": PATH}, capture_output=True, check=False)
    assert ran.returncode == expected
    reason, words = diagnosis.explain(ran.returncode, str(folder), line, PATH)
    assert reason == {126: "NotExecutable", 127: "MissingInterpreter"}[expected]
    return words


@pytest.mark.parametrize(
    ("code", "reason"),
    [(51, "UnsupportedOS"), (52, "MissingDependency"), (53, "InvalidConfiguration"), (56, "PackageManagerBusy")],
)
def test_codes_that_handlers_agree_on(tmp_path: Path, code: int, reason: str) -> None:
    assert diagnosis.explain(code, str(tmp_path), "x", PATH)[0] == reason


@pytest.mark.parametrize("code", [-1, 1, 2, 54, 128, 255, 300])
def test_codes_that_mean_nothing_in_particular(tmp_path: Path, code: int) -> None:
    assert diagnosis.explain(code, str(tmp_path), "x", PATH) == ("", "")


@pytest.mark.parametrize(("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (143, "SIGTERM"), (129, "SIGHUP")])
def test_signals_are_named(tmp_path: Path, code: int, name: str) -> None:
    words = diagnosis.explain(code, str(tmp_path), "x", PATH)[1]

    assert name in words
    assert ("memory" in words) == (code == 137)


# -- 127


def test_an_interpreter_that_is_not_on_path_is_named(tmp_path: Path) -> None:
    words = explained(tmp_path, b"#!/usr/bin/env python2.4\nprint(1)\n", expected=127)

    assert words == "handler.py wants the interpreter 'python2.4' (#!/usr/bin/env python2.4), which is not on PATH"


def test_an_interpreter_after_the_options_of_env_is_named(tmp_path: Path) -> None:
    words = explained(tmp_path, b"#!/usr/bin/env -S A=1 python2.4 -u\n", expected=127)

    assert "'python2.4'" in words


def test_an_interpreter_that_is_not_on_the_machine_is_named(tmp_path: Path) -> None:
    assert "'/usr/bin/python2.4'" in explained(tmp_path, b"#! /usr/bin/python2.4 -u\n", expected=127)


@pytest.mark.parametrize("shebang", [b"#!/bin/sh", b"#!/usr/bin/env sh"])
def test_line_ends_of_windows_are_told(tmp_path: Path, shebang: bytes) -> None:
    words = explained(tmp_path, shebang + b"\r\necho\r\n", expected=127)

    assert "carriage return" in words
    assert "\r" not in words


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    line = f"{tmp_path}/bin/shim install"

    assert diagnosis.explain(127, str(tmp_path), line, PATH) == ("MissingInterpreter", "shim is not in the package")


def test_a_relative_interpreter_is_looked_for_in_the_install_folder(tmp_path: Path) -> None:
    content = b"#!./tool -x\n"
    assert "'./tool'" in explained(tmp_path, content, expected=127, name="bin/handler.py")

    (tmp_path / "tool").touch()

    line = f"{tmp_path}/bin/handler.py install"
    assert diagnosis.explain(127, str(tmp_path), line, PATH)[1] == ""


def test_where_all_that_can_be_seen_is_there_nothing_is_made_up(tmp_path: Path) -> None:
    assert explained(tmp_path, b"#!/bin/sh\nno-such-program-at-all\n", expected=127) == ""


def test_what_is_said_of_a_hostile_first_line_is_clean_and_short(tmp_path: Path) -> None:
    words = explained(tmp_path, b"#!/no/\x1b[31m\xff" + b"x" * 200 + b"\n", expected=127)

    assert "\x1b" not in words
    assert words.isprintable()
    assert len(words) < 600


# -- 126


def test_a_file_without_the_execute_bit_is_told(tmp_path: Path) -> None:
    assert explained(tmp_path, b"#!/bin/sh\n", 0o644, expected=126) == "handler.py is not executable"


def test_a_program_for_another_machine_is_told(tmp_path: Path) -> None:
    content = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0" + FOREIGN + bytes(300)

    words = explained(tmp_path, content, expected=126)

    assert os.uname().machine in words
    assert "is built for" in words


@pytest.mark.parametrize(
    ("machine", "order", "number", "runs"),
    [
        ("x86_64", "little", 62, True),
        ("x86_64", "little", 183, False),
        ("aarch64", "little", 183, True),
        ("ppc64le", "little", 21, True),
        ("ppc64le", "big", 21, False),
        ("s390x", "big", 22, True),
        ("riscv64", "little", 243, True),
        ("armv8l", "little", 40, True),
        ("i586", "little", 3, True),
        ("loongarch64", "little", 258, True),
        ("unheard-of", "little", 9999, True),
    ],
)
def test_a_machine_knows_its_own_programs(machine: str, order: str, number: int, runs: bool) -> None:
    data = b"\1" if order == "little" else b"\2"
    head = b"\x7fELF\x02" + data + bytes(12) + number.to_bytes(2, "little" if order == "little" else "big") + bytes(20)

    assert (diagnosis.built_for(head, machine) == "") == runs


def test_a_folder_mounted_noexec_is_told_with_its_mount(tmp_path: Path) -> None:
    mount, script = tmp_path / "a mount", tmp_path / "explain.py"
    mount.mkdir()
    (tmp_path / "link").symlink_to(mount)
    script.write_text(
        "import subprocess, sys\n"
        "from vmext_agent import diagnosis\n"
        "folder = sys.argv[1]\n"
        "open(folder + '/tool', 'w').write('#!/bin/sh\\n')\n"
        "subprocess.run(['chmod', '755', folder + '/tool'], check=True)\n"
        "code = subprocess.run(['sh', '-c', './tool'], cwd=folder).returncode\n"
        "print(code, *diagnosis.explain(code, folder, folder + '/tool install', '/bin'), sep='|')\n"
    )
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    inside = 'mount -t tmpfs -o noexec tmpfs "$1" && exec "$2" "$3" "$4"'
    arguments = [str(mount), sys.executable, str(script), str(tmp_path / "link")]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": PATH}
    ran = subprocess.run(
        [*unshare, "sh", "-c", inside, "sh", *arguments], env=environment, capture_output=True, text=True, check=False
    )

    code, reason, words = ran.stdout.strip().split("|")
    assert (code, reason) == ("126", "NotExecutable"), ran.stderr
    assert f"{mount} is mounted" in words
    assert "noexec" in words


# -- hostile


@pytest.mark.parametrize("code", [126, 127])
@pytest.mark.parametrize(
    "line", ["", " ", "\0", "a\0b", "/a\0b c", "\ud800", "/\udcff/x", "/" + "x" * 300, "/" * 9000, "/dev/tty", "/proc"]
)
def test_no_command_line_makes_it_fail(tmp_path: Path, code: int, line: str) -> None:
    assert diagnosis.explain(code, str(tmp_path), line, PATH)[0] != ""


@pytest.mark.parametrize("code", [126, 127])
@pytest.mark.parametrize(
    "content",
    [b"", b"#", b"#!", b"#!\n", b"#! \t\n", b"#!\0", b"#!/bin/\0x\n", b"#!/usr/bin/env\n", b"#!/usr/bin/env x\0y\n",
     b"#!/usr/bin/env \xff\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 16, b"\x7fELF" + bytes(100)],
)  # fmt: skip
def test_no_file_makes_it_fail(tmp_path: Path, code: int, content: bytes) -> None:
    (tmp_path / "tool").write_bytes(content)

    assert diagnosis.explain(code, str(tmp_path), f"{tmp_path}/tool", PATH)[0] != ""


@pytest.mark.parametrize("folder", ["/no/such", "a\0b", "\ud800", ""])
def test_no_folder_makes_it_fail(folder: str) -> None:
    assert diagnosis.explain(126, folder, "/bin/sh", PATH)[0] == "NotExecutable"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tool")

    assert diagnosis.explain(126, str(tmp_path), f"{tmp_path}/tool", PATH) == ("NotExecutable", "")
    assert "is not in the package" in diagnosis.explain(127, str(tmp_path), f"{tmp_path}/tool", PATH)[1]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (0, "because the machine ran out of memory"),
        (64 << 20, "its memory limit of 64Mi; raise limits.memory"),
        (100_000_000, "its memory limit of 100000000 bytes; raise limits.memory"),
    ],
)
def test_a_lack_of_memory_is_told_with_the_limit_as_the_catalog_has_it(limit: int, words: str) -> None:
    assert words in diagnosis.out_of_memory(limit)
