"""What is done in each scenario; ``traces.txt`` has the trace that each leaves, a line for each command.

A line is ``<version> <command> [runs|skips] <exit code> [<variables>] <folders before> -> <folders after>`` (``=``
where nothing changed). ``runs`` and ``skips`` are enable's: a number that mrseq has is skipped. A folder is
``<version>{<HandlerState> mrseq=<number> <settings>=<mark> <status files> <extension>=<state>}``; ``shared`` is a
folder that all versions share and uninstall removes. Settings files are empty after enable: handlers do that. The
last line is what is on the machine at rest.
"""

from __future__ import annotations

from typing import Any

from guests.witness import Does, Reboot, Remove, Scenario, Want

_BRAVE = {"continueOnUpdateFailure": True}


def _newer(**fields: Any) -> Want:
    return Want(version="1.1.0", mark="b", **fields)


def _fails_newer(reason: str) -> Want:
    return _newer(outcome="Failed", reason=reason)


def _fails(version: str, command: str, code: int = 7) -> Does:
    return Does(version, command, f"(exit {code})")


SCENARIOS = (
    Scenario("a fresh install", [Want()]),
    Scenario(
        "a fresh install whose install fails",
        [_fails("1.0.0", "install"), Want(outcome="Failed", reason="InstallFailed")],
    ),
    Scenario(
        "a fresh install whose enable fails", [_fails("1.0.0", "enable"), Want(outcome="Failed", reason="EnableFailed")]
    ),
    Scenario(
        "a failed install that is tried again with a new number",
        [
            _fails("1.0.0", "install"),
            Want(outcome="Failed", reason="InstallFailed"),
            Does("1.0.0", "install", ":"),
            Want(),
        ],
    ),
    Scenario("an unsupported system", [_fails("1.0.0", "install", 51), Want(outcome="Failed", reason="UnsupportedOS")]),
    Scenario("enable again with new settings", [Want(), Want(mark="b")]),
    Scenario("the same entry again", [Want(), Want(again=False)]),
    Scenario("settings encrypted anew under the same number", [Want(), Want(again=False, mark="b")]),
    Scenario("a new boot", [Want(), Reboot()]),
    Scenario(
        "a removal after enabling again failed",
        [
            Want(),
            _fails("1.0.0", "enable"),
            Want(mark="b", outcome="Failed", reason="EnableFailed"),
            Remove(),
        ],
    ),
    Scenario(
        "an update after enabling again failed",
        [Want(), _fails("1.0.0", "enable"), Want(mark="b", outcome="Failed", reason="EnableFailed"), _newer()],
    ),
    Scenario(
        "an extension whose script fails",
        [Does("1.0.0", "enable", "status=error"), Want(outcome="Failed", reason="ExecutionFailed")],
    ),
    Scenario("a removal", [Want(), Remove()]),
    Scenario(
        "a removal whose disable fails",
        [Want(), _fails("1.0.0", "disable"), Remove(outcome="Failed", reason="DisableFailed")],
    ),
    Scenario(
        "a removal whose uninstall fails", [Want(), _fails("1.0.0", "uninstall"), Remove(reason="UninstallFailed")]
    ),
    Scenario(
        "a removal of what was never installed",
        [_fails("1.0.0", "install"), Want(outcome="Failed", reason="InstallFailed"), Remove(reason="NothingInstalled")],
    ),
    Scenario("an orphan", [Want(), Remove(state="orphan")]),
    Scenario("an update", [Want(), _newer()]),
    Scenario("an update that keeps its number", [Want(), _newer(again=False)]),
    Scenario("an update without install", [Want(), _newer(manifest={"updateMode": "UpdateWithoutInstall"})]),
    Scenario("an update with install in other letters", [Want(), _newer(manifest={"updateMode": "updatewithINSTALL"})]),
    Scenario(
        "an update of what is installed and not enabled",
        [_fails("1.0.0", "enable"), Want(outcome="Failed", reason="EnableFailed"), _newer()],
    ),
    Scenario("a downgrade", [_newer(), Want()]),
    Scenario(
        "a downgrade whose update fails",
        [_newer(), _fails("1.1.0", "update"), Want(outcome="Failed", reason="UpdateFailed")],
    ),
    Scenario(
        "an update whose old disable fails",
        [Want(), _fails("1.0.0", "disable"), _fails_newer("DisableFailed")],
    ),
    Scenario(
        "an update whose old disable fails and is passed over",
        [Want(), _fails("1.0.0", "disable"), _newer(manifest=_BRAVE)],
    ),
    Scenario(
        "an update whose new update fails",
        [Want(), _fails("1.1.0", "update"), _fails_newer("UpdateFailed")],
    ),
    Scenario(
        "an update whose old uninstall fails",
        [Want(), _fails("1.0.0", "uninstall"), _fails_newer("UninstallFailed")],
    ),
    Scenario(
        "an update whose old uninstall fails and is passed over",
        [Want(), _fails("1.0.0", "uninstall"), _newer(manifest=_BRAVE)],
    ),
    Scenario(
        "an update whose new install fails",
        [Want(), _fails("1.1.0", "install"), _fails_newer("InstallFailed")],
    ),
    Scenario(
        "an update whose new enable fails",
        [Want(), _fails("1.1.0", "enable"), _fails_newer("EnableFailed")],
    ),
    Scenario(
        "an update whose new install and uninstall fail",
        [
            Want(),
            _fails("1.1.0", "install"),
            _fails("1.1.0", "uninstall"),
            _fails_newer("InstallFailed"),
        ],
    ),
    Scenario(
        "an update whose way back fails at install",
        [Want(), _fails("1.1.0", "install"), _fails("1.0.0", "install"), _fails_newer("RollbackFailed")],
    ),
    Scenario(
        "an update whose way back fails at enable",
        [Want(), _fails("1.1.0", "update"), _fails("1.0.0", "enable"), _fails_newer("RollbackFailed")],
    ),
    Scenario(
        "a failed update that is tried again with a new number",
        [
            Want(),
            _fails("1.1.0", "install"),
            _fails_newer("InstallFailed"),
            Does("1.1.0", "install", ":"),
            _newer(),
        ],
    ),
    Scenario(
        "a new boot after a failed update",
        [Want(), _fails("1.1.0", "enable"), _fails_newer("EnableFailed"), Reboot()],
    ),
    Scenario(
        "an update whose script fails is no reason to go back",
        [Want(), Does("1.1.0", "enable", "status=error"), _newer(outcome="Failed", reason="ExecutionFailed")],
    ),
    Scenario(
        "a removal after a failed update",
        [Want(), _fails("1.1.0", "install"), _fails_newer("InstallFailed"), Remove()],
    ),
    Scenario(
        "a dependant after what it depends on, which has no settings of its own",
        [[Want(name="a"), Want(name="b", depends_on=("a",))]],
        multi=True,
    ),
    Scenario(
        "a dependant of what fails",
        [
            Does("1.0.0", "enable", '[ "$ConfigExtensionName" != "${ConfigExtensionName%-a}" ] && status=error; true'),
            [
                Want(name="a", outcome="Failed", reason="ExecutionFailed"),
                Want(name="b", depends_on=("a",), outcome="Failed", reason="DependencyFailed"),
            ],
        ],
        multi=True,
    ),
    Scenario(
        "two extensions of a handler that takes several", [[Want(name="a"), Want(name="b", mark="b")]], multi=True
    ),
    Scenario(
        "a handler that takes several, said as a string",
        [
            [
                Want(name="a", manifest={"supportsMultipleExtensions": "True"}),
                Want(name="b", manifest={"supportsMultipleExtensions": "True"}),
            ]
        ],
        multi=True,
    ),
    Scenario(
        "one of two is removed, then the other",
        [[Want(name="a"), Want(name="b")], Remove("b", reason="HandlerKept"), Remove("a")],
        multi=True,
    ),
    Scenario(
        "one of two whose disable fails is removed all the same",
        [[Want(name="a"), Want(name="b")], _fails("1.0.0", "disable"), Remove("b", reason="HandlerKept")],
        multi=True,
    ),
    Scenario(
        "one of two whose enable fails leaves the other alone",
        [Want(name="a"), _fails("1.0.0", "enable"), Want(name="b", outcome="Failed", reason="EnableFailed")],
        multi=True,
    ),
    Scenario(
        "an update of two",
        [[Want(name="a"), Want(name="b")], [_newer(name="a"), _newer(name="b", again=False)]],
        multi=True,
    ),
    Scenario(
        "an update of two of which one fails",
        [
            [Want(name="a"), Want(name="b")],
            Does("1.1.0", "enable", '[ "$ConfigExtensionName" = "${ConfigExtensionName%-b}" ]'),
            [
                _newer(name="a", outcome="Failed", reason="EnableFailed"),
                _newer(name="b", outcome="Failed", reason="EnableFailed"),
            ],
        ],
        multi=True,
    ),
)
