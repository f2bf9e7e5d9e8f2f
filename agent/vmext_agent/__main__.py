"""The agent's command line: what people run, what the agent runs itself, and ``before-stop``, which its unit runs."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Run as a file (see program.command): then nothing else has told Python where the package is.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_USAGE = """\
usage: vmext-agent run [--config FILE] [--foreground]
       vmext-agent enroll | unenroll | confirm | rotate-key | status [--config FILE]
       vmext-agent --version

enroll        make this machine known to a cluster; reads what kubectl vmext enroll printed from standard input
unenroll      forget that again; what extensions did on the machine stays
confirm       this is the machine that was enrolled, whatever has changed on it
rotate-key    give this machine another key and certificate; nothing runs again for it
status        print how the machine stands, by its own files
run           carry out this machine's goal state, for ever; as root
--config      the agent's configuration (default: /etc/vmext/agent.json)
--foreground  log to standard error too
"""
_CONFIG = "/etc/vmext/agent.json"


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit code."""
    if arguments == ["--version"]:
        from vmext_agent import guest

        sys.stdout.write(guest.version_lines())
        return 0
    command, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    settings = {"--config": _CONFIG, "--parent": "0"}
    echo = sys.stderr.isatty()
    while options:
        option = options.pop(0)
        if option == "--foreground":
            echo = True
        elif option in settings and options:
            settings[option] = options.pop(0)
        else:
            command = ""
    if command in ("enroll", "unenroll", "confirm", "rotate-key", "status"):
        from vmext_agent import enrolment

        return getattr(enrolment, command.replace("-", "_"))(settings["--config"])  # type: ignore[no-any-return]
    if command == "run":
        return _run(settings["--config"], echo=echo)
    if command == "worker" and settings["--parent"].isdecimal():
        return _work(settings["--config"], int(settings["--parent"]), echo=echo)
    if command == "before-stop":
        from vmext_agent import shutdown

        return shutdown.main()
    if command == "package" and settings["--parent"].isdecimal():
        from vmext_agent import packages

        return packages.main(int(settings["--parent"]))
    sys.stderr.write(_USAGE)
    return 64


def _run(config: str, *, echo: bool) -> int:
    arguments = ["--config", config, *(["--foreground"] if echo else [])]
    if not (sys.flags.no_site and sys.flags.isolated):
        from vmext_agent import program

        # Whatever this Python's site has in store for others would stay in memory for as long as the machine runs.
        os.execv(sys.executable, program.command("run", *arguments))  # noqa: S606 -- no shell is wanted
    from vmext_agent import daemon

    return daemon.main(arguments)


def _work(path: str, parent: int, *, echo: bool) -> int:
    from vmext_agent import config, process

    if parent:
        process.die_with_parent(parent)
    from vmext_agent.errors import AgentError, ConfigurationError

    try:
        settings = config.load(path)
    except ConfigurationError as error:
        sys.stderr.write(f"vmext-agent: {error}\n")
        return 2
    from vmext_agent import standby, worker
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log, journal

    layout = Layout(settings.root)
    log = Log(layout.log_file, echo=echo, journal=journal())
    try:
        worker.Worker(settings, standby.at_start(settings, layout, log), log).run()
    except AgentError as error:
        log.error("The worker can't go on", error=error)
        sys.stderr.write(f"vmext-agent: {error}\n")
    except Exception as error:
        log.error("The worker failed; this is an error of the agent's", error=repr(error))
        raise
    return 1


def run() -> int:
    """Do what this process' arguments say; return the exit code."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
