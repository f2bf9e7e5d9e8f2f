"""openssl as a program, for keys, certificates and envelopes: secrets go by files or pipes, never by arguments."""

from __future__ import annotations

import os
import select
import signal
import time

from vmext_agent.errors import OpensslError
from vmext_agent.handler import PATH

#: It reads no configuration of the machine's: what it makes is the same everywhere.
_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "OPENSSL_CONF": "/dev/null", "RANDFILE": "/dev/null"}
_LIMIT = 4 << 20


def run(*arguments: str, given: bytes = b"", timeout_s: float = 60.0) -> bytes:
    """Run it; return what it printed.

    Args:
        arguments: none of them secret.
        given: to its standard input.
        timeout_s: it is ended after that.

    Raises:
        OpensslError: with its own last words, which repeat nothing of what it was given.
    """
    take, give = os.pipe()
    out, put = os.pipe()
    err, complain = os.pipe()
    for descriptor in (give, out, err):
        os.set_blocking(descriptor, False)
    try:
        pid = os.posix_spawnp(
            "openssl",
            ["openssl", *arguments],
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, take, 0),
                (os.POSIX_SPAWN_DUP2, put, 1),
                (os.POSIX_SPAWN_DUP2, complain, 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        for descriptor in (give, out, err):
            os.close(descriptor)
        raise OpensslError(f"openssl can't be run: {error.strerror}; install it") from None
    finally:
        for descriptor in (take, put, complain):
            os.close(descriptor)
    printed, said, in_time = _converse(give, out, err, given, time.monotonic() + timeout_s)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not in_time:
        raise OpensslError(f"openssl {arguments[0]} did not end in {timeout_s:.0f} s")
    if status != 0:
        words = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise OpensslError(f"openssl {arguments[0]} failed: {words[0][:300]}")
    return printed


def _converse(give: int, out: int, err: int, given: bytes, deadline: float) -> tuple[bytes, bytes, bool]:
    """Write and read until it has closed its ends; return what came, and whether it did in time."""
    poll = select.poll()
    poll.register(give, select.POLLOUT)
    came: dict[int, bytes] = {out: b"", err: b""}
    for descriptor in came:
        poll.register(descriptor, select.POLLIN)
    left, is_open = memoryview(given), {give, out, err}
    try:
        while is_open & came.keys():
            ready = poll.poll(max(0, int((deadline - time.monotonic()) * 1000)))
            if not ready:
                return came[out], came[err], False
            for descriptor, _ in ready:
                if descriptor == give:
                    left = _written(give, left)
                    ended = not left
                else:
                    part = os.read(descriptor, 1 << 16)
                    came[descriptor] = (came[descriptor] + part)[:_LIMIT]
                    ended = not part
                if ended:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    is_open.discard(descriptor)
        return came[out], came[err], True
    finally:
        for descriptor in is_open:
            os.close(descriptor)


def _written(descriptor: int, left: memoryview) -> memoryview:
    try:
        return left[os.write(descriptor, left) :] if left else left
    except BrokenPipeError:
        # It did not want all of it.
        return left[:0]
