"""Where everything is on the machine: the contract's folders (sections A1 and 2), and the agent's own."""

from __future__ import annotations


class Layout:
    """Names of files and folders under one root (``/`` but for tests)."""

    __slots__ = ("commands", "empty", "extensions", "handlers", "log_file", "logs", "output", "own", "root")

    def __init__(self, root: str = "/") -> None:
        base = root.rstrip("/")
        self.root = root
        self.handlers = f"{base}/var/lib/waagent"
        self.logs = f"{base}/var/log/azure"
        self.log_file = f"{base}/var/log/waagent.log"
        self.own = f"{base}/var/lib/vmext"
        #: One record for each extension.
        self.extensions = f"{self.own}/extensions"
        #: One folder for each extension that has a command running, or ended and not yet recorded.
        self.commands = f"{self.own}/commands"
        #: Output of ended commands whose background children still hold it open.
        self.output = f"{self.own}/output"
        #: PYTHONPATH of the handlers: some of them fail where it is unset.
        self.empty = f"{self.own}/empty"

    def handler(self, name: str, version: str) -> str:
        """Return the install folder of one version of a handler."""
        return f"{self.handlers}/{name}-{version}"

    def handler_log(self, name: str) -> str:
        """Return the log folder of a handler."""
        return f"{self.logs}/{name}"

    def record(self, extension: str) -> str:
        """Return the file that holds an extension's record."""
        return f"{self.extensions}/{extension}.json"

    def command(self, extension: str) -> str:
        """Return the folder of an extension's command."""
        return f"{self.commands}/{extension}"
