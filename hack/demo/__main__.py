"""``make demo``: exit status 0 only if both extensions ended as they should."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import control_plane
import simulated_guest
from demo import verdict
from development import api, house
from development.operator_process import ROOT

EXAMPLE = ROOT / "examples" / "demo.yaml"
WRITTEN = "/root/hello.txt"
MACHINES = ("web-1", "web-2")


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    keep = parser.parse_args().keep
    console = Console(highlight=False)
    # A terminal that is closed, or `kill`, ends the demo as Ctrl-C does: with everything put away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="vmext-demo-") as folder:
            return _run(Path(folder), console, keep=keep)
    except KeyboardInterrupt:
        console.print("Ended.")
        return 130
    except (control_plane.ControlPlaneError, simulated_guest.GuestError, api.TimedOutError) as error:
        console.print(f"[red]The demo can't go on:[/red] {escape(str(error))}")
        return 1


def _run(folder: Path, console: Console, *, keep: bool) -> int:
    began = time.monotonic()

    def report(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim]  {escape(line)}", soft_wrap=True)

    with contextlib.ExitStack() as closing:
        cluster = closing.enter_context(control_plane.available(folder / "control-plane", report))
        namespace = closing.enter_context(_namespace(cluster, report))
        running = closing.enter_context(house.running(folder, report, cluster=cluster, namespace=namespace))
        for name in MACHINES:
            guest = running.add_machine(name, declare=False)
            report(f"booted the guest {name} with an agent in it" + ("" if guest.full else " (small form: not root)"))

        report(f"applying {EXAMPLE.relative_to(ROOT)}")
        cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLE))
        if not isinstance(cluster, control_plane.ControlPlane):
            closing.callback(_take_back, running, report)
        applied = time.monotonic()
        with _spinner(console, "waiting for the two extensions"):
            good = running.api.wait("VirtualMachineExtension", "hello", _has_ended, timeout_s=60)
            bad = running.api.wait("VirtualMachineExtension", "typo", _has_ended, timeout_s=60)
            for name in MACHINES:
                running.api.wait("VirtualMachine", name, _has_counted, timeout_s=30)
        report(f"both have ended {time.monotonic() - applied:.1f} s after they were applied")

        written = running.guests["web-1"]
        content = written.read(WRITTEN).decode() if written.exists(WRITTEN) else ""
        _show(console, running, content)
        problems = [*verdict.of_success(good, content), *verdict.of_typo(bad)]
        for problem in problems:
            console.print(f"[red]Not as it should be:[/red] {escape(problem)}")
        if not problems:
            console.print("[green]Both ended as they should:[/green] hello ran, and typo says what is wrong with it.\n")
        if keep:
            _stay(console, running)
        else:
            console.print("Everything is put away now; [bold]make demo KEEP=1[/bold] leaves it up to look around.")
    return 1 if problems else 0


@contextlib.contextmanager
def _namespace(cluster: control_plane.Cluster, report: house.Report) -> Iterator[str]:
    """Give a namespace: the default one of our own control plane, else one that is removed afterwards."""
    if isinstance(cluster, control_plane.ControlPlane):
        yield "default"
        return
    name = f"vmext-demo-{os.getpid()}"
    report(f"creating the namespace {name}")
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        report(f"deleting the namespace {name}; vmext's CRDs stay")
        cluster.kubectl("delete", "namespace", name)


def _take_back(running: house.House, report: house.Report) -> None:
    """Delete what was applied to somebody else's cluster, while operator and agents are there to see it through."""
    report("deleting what was applied")
    running.cluster.kubectl("delete", "-n", running.api.namespace, "--timeout=60s", "-f", str(EXAMPLE))
    running.cluster.kubectl("delete", "vmxi", "vmext.customscript-2.1.0")


def _has_ended(obj: api.Object | None) -> bool:
    return api.is_ready(obj) or api.condition(obj, "Stalled") is not None


def _has_counted(machine: api.Object | None) -> bool:
    if not api.is_ready(machine) or machine is None:
        return False
    counts = machine["status"]["extensions"]
    return bool(counts["total"] == 1 == counts["ready"] + counts["failed"])


def _show(console: Console, running: house.House, content: str) -> None:
    def section(command: str, output: str) -> None:
        console.print(f"\n[bold]$ {escape(command)}[/bold]\n{escape(output.rstrip())}", soft_wrap=True)

    kinds = "virtualmachines.vmext.dev,virtualmachineextensions.vmext.dev"
    listed = running.cluster.kubectl("get", kinds, "-n", running.api.namespace)
    section("kubectl get virtualmachines,virtualmachineextensions", listed)
    section(f"cat {WRITTEN}        # in the guest web-1", content or "(there is no such file)")
    template = "{{range .status.statuses}}{{.code}} | {{.displayStatus}} | {{.level}}\n{{.message}}{{end}}"
    typo = running.cluster.kubectl("get", "vmx", "typo", "-n", running.api.namespace, "-o", f"go-template={template}")
    section("kubectl get vmx typo -o go-template=...        # code, displayStatus, level and message", typo)
    console.print()


def _stay(console: Console, running: house.House) -> None:
    folder = running.folder
    console.print(
        "It stays up until Ctrl-C. In another terminal:\n\n"
        f"  export KUBECONFIG={running.cluster.kubeconfig}\n"
        "  kubectl get vmext                      # everything of vmext\n"
        "  kubectl describe vmx typo              # conditions, statuses, events\n"
        "  kubectl get goal -o yaml               # what the operator tells the machine, and what that answers\n"
        '  kubectl patch vmx typo --type=merge -p \'{"spec":{"settings":{"commandToExecute":"echo hello"}}}\'\n'
        "  kubectl delete vmx hello               # uninstalls it on the machine first\n"
        f"  PYTHONPATH=hack python3 -m simulated_guest --folder {folder / 'guests'} run web-1 -- "
        "cat /var/log/waagent.log\n"
        f"  tail -f {running.operator.log}\n",
        soft_wrap=True,
    )
    while True:
        signal.pause()


@contextlib.contextmanager
def _spinner(console: Console, text: str) -> Iterator[None]:
    show: Callable[[str], contextlib.AbstractContextManager[object]] = console.status
    with show(text) if console.is_terminal else contextlib.nullcontext():
        yield


if __name__ == "__main__":
    sys.exit(main())
