"""Simulated guests from the command line; they live until they are stopped.

python3 -m simulated_guest start web-1
python3 -m simulated_guest run web-1 ps -e
python3 -m simulated_guest cat web-1 /etc/hostname
python3 -m simulated_guest reboot web-1
python3 -m simulated_guest list
python3 -m simulated_guest stop web-1
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from simulated_guest import lifetime
from simulated_guest.errors import GuestError
from simulated_guest.guest import environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status, for `run` that of the program inside."""
    options = _parser().parse_args(arguments)
    folder: Path | None = options.folder
    try:
        match options.command:
            case "start":
                guest = lifetime.start(
                    options.name, folder=folder, disk_bytes=options.disk_bytes, small=True if options.small else None
                )
                print(f"{guest.name} runs ({'full' if guest.full else 'the smaller form'})")
            case "run":
                sys.stdout.flush()
                command = lifetime.attach(options.name, folder=folder).command(options.argv)
                os.execvpe(command[0], command, environment())
            case "cat":
                sys.stdout.buffer.write(lifetime.attach(options.name, folder=folder).read(options.path))
            case "reboot":
                lifetime.attach(options.name, folder=folder).reboot()
            case "stop":
                lifetime.stop(options.name, folder=folder)
            case "list":
                for name in lifetime.names(folder=folder):
                    print(name)
    except (GuestError, OSError) as error:
        print(f"simulated_guest: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulated_guest", description="Start, look into and end simulated guests.")
    parser.add_argument("--folder", type=Path, help="where guests are kept (one of yours in the temporary folder)")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, *, of_guest: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if of_guest:
            added.add_argument("name", metavar="NAME", help="the guest's host name")
        return added

    start = command("start", "start a guest that lives until it is stopped")
    start.add_argument("--small", action="store_true", help="the smaller form, which needs no root")
    start.add_argument("--disk-bytes", type=int, metavar="N", help="how much it can write until its disk is full")
    command("run", "run a program inside as root").add_argument("argv", metavar="ARGV", nargs=argparse.REMAINDER)
    command("cat", "print a file of the guest").add_argument("path", metavar="PATH")
    command("reboot", "kill everything inside and boot again from the same disk")
    command("stop", "end a guest and throw its disk away")
    command("list", "print the names of the guests that run", of_guest=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
