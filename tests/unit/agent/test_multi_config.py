"""What the agent decides of a handler that takes several extensions."""

from __future__ import annotations

import json

from unit.agent import goals
from unit.agent.goals import Move, entry, goal, record
from unit.agent.model import Machine
from unit.agent.planning import NOT_INSTALLED
from vmext_agent import records, steps
from vmext_agent.records import Enabled

MULTI = NOT_INSTALLED._replace(multi_config=True)


def multi(name: str, **fields: object) -> goals.Entry:
    return entry(name, uid=f"uid-{name}", multi_config=True, **fields)  # type: ignore[arg-type]


def two(**fields: object) -> goals.Goal:
    return goal(multi("a", **fields), multi("b", **fields))


def with_two() -> Machine:
    machine = Machine(manifests=dict.fromkeys(("1.0.0", "1.1.0"), MULTI))
    machine.take(two())
    machine.rest()
    return machine


def test_a_multi_config_handler_is_installed_once_and_enabled_for_each() -> None:
    machine = with_two()

    assert machine.done == ["download 1.0.0", "install 1.0.0", "enable 1.0.0", "enable 1.0.0"]
    assert machine.handlers[goals.HANDLER]["1.0.0"].enabled == {"a", "b"}


def test_a_multi_config_extension_leaves_the_others_where_they_are() -> None:
    machine = with_two()
    machine.take(goal(multi("a"), multi("b", state="uninstall", number=1)))

    assert machine.rest() == ["disable 1.0.0", "forget 1.0.0"]
    verdict = machine.records["b"].verdict
    assert verdict is not None
    assert (verdict.reason, verdict.kept_by) == ("HandlerKept", "a")
    assert machine.handlers[goals.HANDLER]["1.0.0"] == MULTI._replace(
        state=records.ENABLED, enabled=frozenset({"a"}), sha256="a" * 64
    )


def test_the_last_multi_config_extension_takes_the_handler_with_it() -> None:
    machine = with_two()
    machine.take(two(state="uninstall"))

    assert machine.rest() == [
        "disable 1.0.0",
        "forget 1.0.0",
        "disable 1.0.0",
        "uninstall 1.0.0",
        "remove 1.0.0",
        "forget 1.0.0",
    ]


def test_an_update_of_a_multi_config_handler_disables_all_and_tells_their_codes() -> None:
    machine = with_two()
    machine.take(two(version="1.1.0", number=2))
    machine.rest()

    assert machine.done == [
        "download 1.1.0",
        *("begin 1.1.0", "disable 1.0.0", "disable 1.0.0", "carry 1.1.0", "update 1.1.0", "uninstall 1.0.0"),
        *("aside 1.0.0", "install 1.1.0", "enable 1.1.0", "enable 1.1.0", "settle 1.1.0"),
    ]
    update = next(ran.step for ran in machine.trace if ran.step.kind == steps.UPDATE)
    assert json.loads(update.variables["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"]) == [
        {"extensionName": "a", "exitCode": "0"},
        {"extensionName": "b", "exitCode": "0"},
    ]


def test_an_update_of_a_multi_config_handler_goes_back_for_all_of_them() -> None:
    machine = with_two()
    machine.fails = {"enable 1.1.0": 7}
    machine.take(two(version="1.1.0", number=2))
    machine.rest()

    assert machine.disk.in_force(goals.HANDLER) == "1.0.0"
    assert machine.handlers[goals.HANDLER]["1.0.0"].enabled == {"a", "b"}
    for name in ("a", "b"):
        verdict = machine.records[name].verdict
        assert verdict is not None
        assert (verdict.reason, verdict.failed_version) == ("EnableFailed", "1.1.0")


def test_an_extension_that_is_new_with_the_new_version_takes_nobody_back_with_it() -> None:
    machine = with_two()
    machine.fails = {"enable 1.1.0": 7}
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {"a": Enabled("uid-a", "1.0.0", 1, goals.BOOT, 0.0)})
    machine.handlers[goals.HANDLER] = {"1.1.0": MULTI._replace(state=records.ENABLED, enabled=frozenset({"a"}))}
    machine.moves[goals.HANDLER] = move
    one = multi("a", version="1.1.0")
    machine.records = {"a": record(one, enabled=True)}
    machine.outcomes["a"] = "Succeeded"
    machine.take(goal(one, multi("c", version="1.1.0", number=3)))

    assert machine.rest() == ["enable 1.1.0", "settle 1.1.0"]
    assert machine.disk.in_force(goals.HANDLER) == "1.1.0"
