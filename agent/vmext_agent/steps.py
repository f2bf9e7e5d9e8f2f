"""The steps that ``plan`` gives and the executor carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent.records import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Entry, Key
    from vmext_agent.records import Move

#: Kinds of steps that are a command of the handler.
INSTALL, ENABLE, DISABLE, UPDATE, UNINSTALL = "install", "enable", "disable", "update", "uninstall"
COMMANDS = (INSTALL, ENABLE, DISABLE, UPDATE, UNINSTALL)
#: Get and unpack a package.
DOWNLOAD = "download"
#: Begin a change of version: note what is enabled now.
BEGIN = "begin"
#: Copy ``mrseq`` and the status files to the new version.
CARRY = "carry"
#: Put the old version's folder out of the way.
ASIDE = "aside"
#: Take a change of version back, because the goal no longer wants it.
TAKE_BACK = "take-back"
#: Put the old version's folder back to its place.
RESTORE = "restore"
#: End a change that was taken back: say of the new version that it failed.
RETURN = "return"
#: End a change: remove what was set aside.
SETTLE = "settle"
#: Remove the folder of a version.
REMOVE = "remove"
#: Write the settings file anew; nothing runs.
REWRITE = "rewrite"
#: End with an extension: nothing of it is left to do.
FORGET = "forget"
#: Take note of an entry for which nothing is to be done.
ACCEPT = "accept"

UNINSTALL_CODE = "AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"


class Step(NamedTuple):
    """One thing to do.

    Attributes:
        kind: one of the constants of this module.
        extension: whose step it is.
        handler: ``<publisher>.<type>``.
        version: whose folder it is about; commands run there.
        key: the entry's key; of a step back, the one that was enabled.
        variables: environment of a command, on top of what every command gets.
        source: the version to change from.
        back: it restores what was, and is no step towards the entry.
    """

    kind: str
    extension: str
    handler: str
    version: str
    key: Key
    variables: Mapping[str, str] = {}
    source: str = ""
    back: bool = False

    @property
    def mark(self) -> str:
        """Return what its exit code is noted under in a move."""
        parts = ["back"] if self.back else []
        parts.append(self.kind)
        if self.kind in (DISABLE, ENABLE):
            parts.append(self.extension)
        return " ".join(parts)

    @property
    def gone_mark(self) -> str:
        """Return what is noted in a move when a removal has run this version's command."""
        return f"gone {self.version}"


def step(
    kind: str,
    entry: Entry,
    version: str,
    variables: Mapping[str, str] | None = None,
    *,
    key: Key | None = None,
    source: str = "",
    back: bool = False,
) -> Step:
    """Return a step of an entry."""
    return Step(kind, entry.name, entry.handler, version, key or entry.key, variables or {}, source, back)


def uninstall_code(move: Move | None, *, back: bool = False) -> dict[str, str]:
    """Return the variable that install and enable are told the other version's uninstall by (contract, A4)."""
    mark = f"back {UNINSTALL}" if back else UNINSTALL
    return {UNINSTALL_CODE: move.done.get(mark, NOT_RUN) if move is not None else NOT_RUN}
