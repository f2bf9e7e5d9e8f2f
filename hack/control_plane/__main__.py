"""Control planes for people: ``python3 -m control_plane start|stop|status|fetch``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from control_plane import ControlPlane, ControlPlaneError, choice, existing, obtain, process

FOLDER = Path(__file__).resolve().parents[2] / "build" / "control-plane"
_STATE = "state.json"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="control_plane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("start", "start one and print how to reach it"),
        ("stop", "end one"),
        ("status", "list those that run"),
        ("fetch", "only make sure that the programs are there"),
    ):
        command = commands.add_parser(name, help=text)
        if name in ("start", "stop"):
            command.add_argument("--name", default="default", help="several can run beside each other")
    arguments = parser.parse_args()
    try:
        if os.environ.get(choice.VARIABLE):
            return _existing(arguments.command, Path(os.environ[choice.VARIABLE]))
        if arguments.command == "fetch":
            obtain(say)
        elif arguments.command == "start":
            _start(FOLDER / arguments.name)
        elif arguments.command == "stop":
            _stop(FOLDER / arguments.name)
        else:
            _status()
    except ControlPlaneError as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    return 0


def _existing(command: str, kubeconfig: Path) -> int:
    found = existing(kubeconfig)
    say(f"{choice.VARIABLE} is set: the cluster at {found.server} is used, and there is nothing to {command}")
    return 0


def _start(folder: Path) -> None:
    if _processes(folder):
        say(f"{folder.name} runs already.")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        instance = ControlPlane(folder, obtain(say), outlive=True)
        try:
            instance.start()
        except BaseException:
            instance.stop()
            raise
        state = {name: [one.pid, one.started] for name, one in instance.identities.items()}
        (folder / _STATE).write_text(json.dumps(state))
        say(f"{folder.name} is ready at {instance.server} after {time.monotonic() - began:.1f} s.")
    suffix = "" if folder.name == "default" else f"   # or: python3 -m control_plane stop --name {folder.name}"
    say(f"  export KUBECONFIG={folder / 'kubeconfig'}\n  kubectl get namespaces\n  make control-plane-stop{suffix}")


def _stop(folder: Path) -> None:
    running = _processes(folder)
    for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
        if name in running:
            process.stop_stranger(running[name], patience_s=2.0)
    shutil.rmtree(folder, ignore_errors=True)
    say(f"{folder.name} has ended." if running else f"{folder.name} does not run.")


def _status() -> None:
    found = [folder for folder in sorted(FOLDER.glob("*")) if _processes(folder)]
    for folder in found:
        programs = ", ".join(f"{name} {one.pid}" for name, one in sorted(_processes(folder).items()))
        say(f"{folder.name}: {programs}; KUBECONFIG={folder / 'kubeconfig'}")
    if not found:
        say("none runs")


def _processes(folder: Path) -> dict[str, process.Identity]:
    """Return those of a control plane's processes that are still the ones that were started."""
    try:
        state = json.loads((folder / _STATE).read_text())
    except (OSError, ValueError):
        return {}
    identities = {name: process.Identity(pid, started) for name, (pid, started) in state.items()}
    return {name: one for name, one in identities.items() if one.is_alive()}


if __name__ == "__main__":
    sys.exit(main())
