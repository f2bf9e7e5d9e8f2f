"""The commands of the handler, as an agent calls them: install, enable, disable, update, uninstall."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from . import environment
from .cancellation import Cancellation
from .environment import Environment
from .errors import HandlerError, MissingDependencyError
from .journal import Journal

_COMMANDS = ("install", "enable", "disable", "update", "uninstall")
_BAD_USAGE = 2


def main(arguments: list[str], variables: Mapping[str, str]) -> int:
    """Run one command in the current folder, which is the install folder; return its exit code."""
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        print(f"usage: custom-script {'|'.join(_COMMANDS)}", file=sys.stderr)
        return _BAD_USAGE
    command = arguments[0]
    script_umask = os.umask(0o077)
    cancellation = Cancellation()
    try:
        if command == "enable":
            cancellation.listen()
        env = environment.read(Path.cwd())
        journal = Journal(env.log_folder / "CustomScript.log", _now)
        journal.write("command", name=command, folder=str(env.install_folder))
        if command == "enable":
            return _enable(env, variables, journal, cancellation, script_umask)
        if command == "install":
            _install(journal)
        elif command == "uninstall":
            _uninstall(env, journal)
        elif command == "update":
            _update(env, variables)
        # Nothing is to be done for disable: no script is running between two enables.
        journal.write("command-complete", name=command)
    except HandlerError as error:
        print(f"CustomScript {command} failed: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"CustomScript {command} failed: {error.filename}: {error.strerror}", file=sys.stderr)
        return HandlerError.exit_code
    return 0


def _enable(
    env: Environment, variables: Mapping[str, str], journal: Journal, cancellation: Cancellation, script_umask: int
) -> int:
    # What only enable needs is not loaded by the others: a command takes about as long as its imports.
    from .enable import Enable
    from .script import Runner
    from .status import Reporter

    number = environment.sequence_number(variables, env.config_folder)
    enable = Enable(
        env=env,
        number=number,
        reporter=Reporter(env.status_folder, number, _now),
        journal=journal,
        cancellation=cancellation,
        runner=Runner(cancellation, script_umask),
    )
    return enable.run()


def _install(journal: Journal) -> None:
    if shutil.which("cat") is None:
        raise MissingDependencyError("cat is not on PATH; install coreutils and try again")
    # Only protected settings need it, and enable says so when there are some.
    journal.write("found", openssl=str(shutil.which("openssl") is not None).lower())


def _update(env: Environment, variables: Mapping[str, str]) -> None:
    from . import former_runs

    version = variables.get("VERSION", "")
    if version:
        former_runs.hand_over(env, version)


def _uninstall(env: Environment, journal: Journal) -> None:
    from . import former_runs

    if former_runs.is_handed_over(env):
        journal.write("data-left", reason="an update to another version")
    else:
        former_runs.remove_all(env)


def _now() -> datetime:
    return datetime.now(timezone.utc)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
