"""Control planes for people: ``python3 -m control_plane start|stop|status|fetch``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from control_plane import ControlPlaneError, choice, existing, obtain
from control_plane.background import Named, known

_PACKAGES = Path(__file__).resolve().parents[2] / "build" / "packages"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Do what the command line says; return the exit status."""
    arguments = _parser().parse_args()
    elsewhere = os.environ.get(choice.VARIABLE)
    try:
        if arguments.command == "stop":
            _stop(Named(arguments.name), keep_data=arguments.keep_data)
        elif arguments.command == "status":
            _status()
        elif elsewhere:
            found = existing(Path(elsewhere))
            say(f"{choice.VARIABLE} is set: the cluster at {found.server} is used, and nothing is started.")
        elif arguments.command == "start":
            named = Named(arguments.name)
            _start(named, audit=arguments.audit, names=arguments.certificate_name)
            if arguments.packages_host:
                _serve(named, arguments.packages_host)
        else:
            obtain(say)
    except ControlPlaneError as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("control plane: interrupted; nothing of it is left behind", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m control_plane", description="Control planes for development.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start one, or say that it runs, and print how to reach it")
    start.add_argument("--audit", action="store_true", help="write each request to audit.log")
    start.add_argument(
        "--certificate-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name or address that the API server's certificate is good for, such as 10.0.2.2, by which a "
        "virtual machine of QEMU reaches this machine's loopback; can be given several times",
    )
    start.add_argument(
        "--packages-host",
        metavar="HOST",
        help="serve build/packages on a port of loopback as well, and print the address to build them for, by which a "
        "machine that reaches this loopback as HOST downloads them",
    )
    stop = commands.add_parser("stop", help="end one and remove its data")
    stop.add_argument("--keep-data", action="store_true", help="the next start goes on with it")
    for command in (start, stop):
        command.add_argument("--name", default="default", help="several can run beside each other")
    commands.add_parser("status", help="list those that run")
    commands.add_parser("fetch", help="only make sure that the programs are there")
    return parser


def _start(wanted: Named, *, audit: bool, names: list[str]) -> None:
    began = time.monotonic()
    if wanted.start(lambda: obtain(say), audit=audit, names=names):
        say(f"Control plane {wanted.name} is ready after {time.monotonic() - began:.1f} s.")
    else:
        say(f"Control plane {wanted.name} runs already.")
    name = "" if wanted.name == "default" else f" --name {wanted.name}"
    stop = f"PYTHONPATH=hack .venv/bin/python -m control_plane stop{name}" if name else "make control-plane-stop"
    say(f"  to reach it:  export KUBECONFIG={wanted.kubeconfig}")
    say("  to try it:    kubectl get namespaces")
    say(f"  to end it:    {stop}")


def _serve(wanted: Named, host: str) -> None:
    port = wanted.serve(_PACKAGES)
    say(f'  packages:     make packages ARGS="--url-base http://{host}:{port}" && kubectl apply -f {_PACKAGES}')


def _stop(wanted: Named, *, keep_data: bool) -> None:
    ran = wanted.stop(keep_data=keep_data)
    kept = f" Its data is kept in {wanted.folder}." if keep_data and wanted.folder.exists() else ""
    say(f"Control plane {wanted.name} {'has ended' if ran else 'does not run'}.{kept}")


def _status() -> None:
    named = [one for one in known() if one.processes()]
    for one in named:
        running = ", ".join(f"{program} (pid {who.pid})" for program, who in one.processes().items())
        state = "runs" if one.is_running() else "runs in part (start it again)"
        say(f"{one.name} {state}: {running}; KUBECONFIG={one.kubeconfig}")
    if not named:
        say("No control plane runs.")


if __name__ == "__main__":
    sys.exit(main())
