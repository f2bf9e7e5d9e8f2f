"""What an exit code means: codes that handlers agree on (contract, 5), and why a command could not be run at all.

Nothing is executed to find out, and of files that are a package's only the first bytes are read.
"""

from __future__ import annotations

import os
import re
import signal
import stat

from vmext_agent import text

_MEANINGS = {
    51: "UnsupportedOS",
    52: "MissingDependency",
    53: "InvalidConfiguration",
    56: "PackageManagerBusy",
    126: "NotExecutable",
    127: "MissingInterpreter",
}
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_KILLED = 128
_HEAD = 256
#: Programs by e_machine and byte order of their ELF file: what they are built for.
_BUILT_FOR = {
    (3, "little"): "i386",
    (21, "big"): "ppc64",
    (21, "little"): "ppc64le",
    (22, "big"): "s390x",
    (40, "little"): "arm",
    (62, "little"): "x86_64",
    (183, "little"): "aarch64",
    (243, "little"): "riscv64",
    (258, "little"): "loongarch64",
}
#: What a machine runs besides what it is itself.
_RUNS_TOO = {"x86_64": "i386", "aarch64": "arm"}
_OCTAL = re.compile(r"\\([0-7]{3})")


def explain(code: int, folder: str, line: str, path: str) -> tuple[str, str]:
    """Return a reason, empty where the code has no meaning of its own, and words, empty where there is no more to say.

    Args:
        code: exit code, not 0.
        folder: the handler's install folder.
        line: the command as the shell was given it.
        path: the command's PATH.
    """
    reason = _MEANINGS.get(code, "")
    try:
        if code == _NOT_EXECUTABLE:
            return reason, _why_not_executable(folder, line)
        if code == _NOT_FOUND:
            return reason, _what_is_missing(folder, line, path)
    except (OSError, ValueError):
        # A path with a NUL or a lone surrogate in it is a ValueError.
        return reason, ""
    if _KILLED < code < _KILLED + 65:
        return reason, _killed_by(code - _KILLED)
    return reason, ""


def _killed_by(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return ""
    words = f"it was killed by {name}"
    return f"{words}; the machine, or its limit, may have run out of memory" if number == signal.SIGKILL else words


def out_of_memory(limit: int) -> str:
    """Return in words that the kernel ended a process of the handler's for memory; `limit` in bytes, 0 for none."""
    if not limit:
        return "the kernel ended a process of the handler's, because the machine ran out of memory"
    # As the catalog has it.
    size = f"{limit >> 20}Mi" if limit % (1 << 20) == 0 else f"{limit} bytes"
    return (
        f"the kernel ended a process of the handler's, because all of them together came to its memory limit of {size};"
        " raise limits.memory of its catalog entry, or have it use less"
    )


def _program(line: str) -> str:
    return line.split(maxsplit=1)[0] if line.strip() else ""


def _head(program: str) -> bytes | None:
    """Return the first bytes of a regular file, None where there is none."""
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _HEAD) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _why_not_executable(folder: str, line: str) -> str:
    try:
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return (
                f"WARNING: {_mount_of(folder)} is mounted with the noexec flag, which prevents execution of"
                " extensions; mount it without"
            )
    except OSError:
        return ""
    program = _program(line)
    head = _head(program)
    if head is None:
        return ""
    if not os.access(program, os.X_OK):
        return f"{os.path.basename(program)} is not executable"
    machine = os.uname().machine
    foreign = built_for(head, machine)
    return f"{os.path.basename(program)} is built for {foreign}, and this machine is {machine}" if foreign else ""


def built_for(head: bytes, machine: str) -> str:
    """Return what a program is built for by its first bytes; empty where `machine` (as of uname) may well run it."""
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    own = "arm" if machine.startswith("arm") else "i386" if machine[:1] == "i" and machine[2:] == "86" else machine
    little = head[5] == 1
    number = int.from_bytes(head[18:20], "little" if little else "big")
    target = _BUILT_FOR.get((number, "little" if little else "big"), f"another one (ELF machine {number})")
    return "" if own not in _BUILT_FOR.values() or target in (own, _RUNS_TOO.get(own)) else target


def _mount_of(folder: str) -> str:
    """Return the mount point that a folder lies in."""
    folder, best = os.path.realpath(folder), "/"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for entry in file:
                point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), entry.split()[4])
                if len(point) >= len(best) and (folder == point or folder.startswith(point.rstrip("/") + "/")):
                    best = point
    except (OSError, IndexError):
        return folder
    return best


def _what_is_missing(folder: str, line: str, path: str) -> str:
    """Return which interpreter, or which program, is not there."""
    program = _program(line)
    name = os.path.basename(program)
    head = _head(program)
    if head is None:
        return f"{name} is not in the package" if program.startswith("/") else f"{name} is not on PATH"
    if not head.startswith(b"#!"):
        return ""
    first = head.split(b"\n", 1)[0]
    if first.endswith(b"\r"):
        return f"the first line of {name} ends with a carriage return: it was saved with line ends of Windows"
    shown = text.decode(first)[:120]
    words = os.fsdecode(first[2:]).split()
    if not words:
        return ""
    # A relative one is looked for where the command runs.
    if not os.path.exists(os.path.join(folder, words[0])):
        return f"{name} wants the interpreter {_quoted(words[0])} ({shown}), which this machine does not have"
    arguments = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if os.path.basename(words[0]) == "env" and arguments and not _is_on(path, arguments[0]):
        return f"{name} wants the interpreter {_quoted(arguments[0])} ({shown}), which is not on PATH"
    return ""


def _quoted(word: str) -> str:
    return f"'{text.clean(word)[:120]}'"


def _is_on(path: str, program: str) -> bool:
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in path.split(":"))
