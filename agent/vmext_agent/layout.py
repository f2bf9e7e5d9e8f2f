"""Where everything is on the machine: the contract's folders (sections A1 and 2), and the agent's own."""

from __future__ import annotations


class Layout:
    """Names of files and folders under one root (``/`` but for tests)."""

    __slots__ = (
        "commands", "empty", "extensions", "goal", "handlers", "identity", "installation", "log_file", "logs", "moves",
        "output", "own", "root", "settings", "shim", "stopping",
    )  # fmt: skip

    def __init__(self, root: str = "/") -> None:
        base = root.rstrip("/")
        self.root = root
        self.handlers = f"{base}/var/lib/waagent"
        self.logs = f"{base}/var/log/azure"
        self.log_file = f"{base}/var/log/waagent.log"
        self.own = f"{base}/var/lib/vmext"
        #: The machine's key and certificate.
        self.identity = f"{self.own}/identity"
        #: What the machine was when it was enrolled.
        self.installation = f"{self.own}/installation.json"
        #: One record for each extension.
        self.extensions = f"{self.own}/extensions"
        #: One record for each handler whose version is being changed.
        self.moves = f"{self.own}/moves"
        #: The settings file of each extension as it was written: handlers change theirs.
        self.settings = f"{self.own}/settings"
        #: The newest goal that was taken.
        self.goal = f"{self.own}/goal.json"
        #: One folder for each extension that has a command running, or ended and not yet recorded.
        self.commands = f"{self.own}/commands"
        #: Is there while the agent is being stopped because the machine goes down.
        self.stopping = f"{base}/run/vmext-agent.stopping"
        #: The script of the shell around each command.
        self.shim = f"{self.own}/shim"
        #: Output of ended commands whose background children still hold it open.
        self.output = f"{self.own}/output"
        #: PYTHONPATH of the handlers: some of them fail where it is unset.
        self.empty = f"{self.own}/empty"

    def handler(self, name: str, version: str) -> str:
        """Return the install folder of one version of a handler."""
        return f"{self.handlers}/{name}-{version}"

    def aside(self, name: str, version: str) -> str:
        """Return where the install folder of a version is put that another one takes the place of."""
        return f"{self.handlers}/.aside-{name}-{version}"

    def handler_log(self, name: str) -> str:
        """Return the log folder of a handler."""
        return f"{self.logs}/{name}"

    def record(self, extension: str) -> str:
        """Return the file that holds an extension's record."""
        return f"{self.extensions}/{extension}.json"

    def move(self, handler: str) -> str:
        """Return the file that holds a handler's change of version."""
        return f"{self.moves}/{handler}.json"

    def kept_settings(self, extension: str, number: int) -> str:
        """Return the file that keeps what an extension's settings file of a sequence number was written with."""
        return f"{self.settings}/{extension}.{number}"

    def command(self, extension: str) -> str:
        """Return the folder of an extension's command."""
        return f"{self.commands}/{extension}"
