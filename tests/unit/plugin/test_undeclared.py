"""Which thing on a machine is meant, and what is declared to have it removed."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_vmext import undeclared
from kubectl_vmext.errors import NotFoundError, UsageError
from support import objects
from vmext_operator.api import virtual_machine_extension

SINGLE = {"handler": "VMExt.CustomScript", "version": "2.1.0", "extension": "old"}
SEVERAL = [
    {"handler": "A.B.Run", "version": "1.0.0.0.1", "extension": name, "multiConfig": True} for name in ("one", "two")
]


def machine(*found: dict[str, Any]) -> dict[str, Any]:
    return objects.machine() | {"status": {"undeclared": list(found)}}


def test_it_is_found_by_its_handler_and_where_that_takes_several_by_its_name() -> None:
    web = machine(SINGLE, *SEVERAL)

    assert undeclared.pick(web, "vmext.customscript", None) == SINGLE
    assert undeclared.pick(web, "A.B.Run", "two") == SEVERAL[1]
    with pytest.raises(UsageError, match="one, two; give one by --extension"):
        undeclared.pick(web, "A.B.Run", None)
    with pytest.raises(NotFoundError, match=r"web-1 reports A.B.Run, VMExt.CustomScript"):
        undeclared.pick(web, "X.Y", None)
    with pytest.raises(NotFoundError, match="reports nothing"):
        undeclared.pick(objects.machine(), "X.Y", None)


@pytest.mark.parametrize(
    ("one", "name", "version"),
    [(SINGLE, "remove-web-1-customscript", "2.1.0"), (SEVERAL[0], "one", "0")],
)
def test_what_is_declared_begins_nothing_and_waits_for_the_machine(
    one: dict[str, Any], name: str, version: str
) -> None:
    made = undeclared.declared(undeclared.name_for(one, "web-1"), "default", "web-1", one)
    parsed = virtual_machine_extension.parse(objects.extension(made["metadata"]["name"], spec=made["spec"]))

    assert (parsed.meta.key.name, made["spec"]["typeHandlerVersion"]) == (name, version)
    assert parsed.handler_key == one["handler"].lower()
    assert parsed.depends_on == (undeclared.NEVER,)
    assert made["metadata"]["finalizers"] == [virtual_machine_extension.FINALIZER]


def test_a_name_is_as_long_as_one_can_be_and_what_has_no_publisher_is_refused() -> None:
    long = {"handler": f"P.{'t' * 100}", "version": "1"}

    assert len(undeclared.name_for(long, "v" * 63)) == 80
    with pytest.raises(UsageError, match="remove it on web-1 itself"):
        undeclared.declared("x", "default", "web-1", {"handler": "Odd", "version": "1"})
