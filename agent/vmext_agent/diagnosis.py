"""What an exit code means: codes that handlers agree on (contract, 5), and why a command could not be run at all.

Nothing is executed to find out, and of files that are a package's only the first bytes are read.
"""

from __future__ import annotations

import os
import re
import signal
import stat

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
#: e_machine of an ELF file, by what uname calls it.
_MACHINES = {3: "i686", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "armv7l", 62: "x86_64", 183: "aarch64"}
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
    if code == _NOT_EXECUTABLE:
        return reason, _why_not_executable(folder, line)
    if code == _NOT_FOUND:
        return reason, _what_is_missing(line, path)
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
    if head[:4] == b"\x7fELF" and len(head) > 20:
        order = "little" if head[5] == 1 else "big"
        machine = _MACHINES.get(int.from_bytes(head[18:20], order), "another machine")  # type: ignore[arg-type]
        if machine != os.uname().machine:
            return f"{os.path.basename(program)} is built for {machine}, and this machine is {os.uname().machine}"
    if not os.access(program, os.X_OK):
        return f"{os.path.basename(program)} is not executable"
    return ""


def _mount_of(folder: str) -> str:
    """Return the mount point that a folder lies in."""
    best = "/"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for entry in file:
                point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), entry.split()[4])
                if len(point) >= len(best) and (folder == point or folder.startswith(point.rstrip("/") + "/")):
                    best = point
    except (OSError, IndexError):
        return folder
    return best


def _what_is_missing(line: str, path: str) -> str:
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
    shown = first.decode("ascii", "backslashreplace")[:120]
    words = shown[2:].split()
    if not words:
        return ""
    if not os.path.exists(os.path.join(os.path.dirname(program), words[0])):
        return f"{name} wants the interpreter {words[0]!r} ({shown}), which this machine does not have"
    arguments = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if os.path.basename(words[0]) == "env" and arguments and not _is_on(path, arguments[0]):
        return f"{name} wants the interpreter {arguments[0]!r} ({shown}), which is not on PATH"
    return ""


def _is_on(path: str, program: str) -> bool:
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in path.split(":"))
