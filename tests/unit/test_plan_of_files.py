from __future__ import annotations

from typing import Any

from support import objects
from support.compiling import NOW, compiled
from vmext_operator.api.meta import Key
from vmext_operator.core.plan import Action, Change, World, plan

WEB = Key("default", "web-1")
IMAGES = [
    objects.image(version, type_=type_)
    for type_ in ("CustomScript", "Other", "Third")
    for version in ("2.1.0", "2.2.0")
]


def world(
    *extensions: dict[str, Any], images: list[dict[str, Any]] | None = None, vm: dict[str, Any] | None = None
) -> World:
    """Return a world in which web-1 is told what those extensions declare."""
    machine = vm or objects.machine()
    catalog = IMAGES if images is None else images
    goal = objects.goal_state("web-1", compiled(*extensions, images=catalog, machine=machine).goal.render())
    return World(
        {WEB: machine},
        {Key("default", one["metadata"]["name"]): one for one in extensions},
        {Key("", one["metadata"]["name"]): one for one in catalog},
        {Key("default", goal["metadata"]["name"]): goal},
    )


def written(name: str = "hello", kind: str = "VirtualMachineExtension", **spec: Any) -> dict[str, Any]:
    """Return an object as a user writes it."""
    base = {"vmName": "web-1", "publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    obj = {"apiVersion": "vmext.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return obj | {"spec": (base if kind == "VirtualMachineExtension" else {}) | spec}


def planned(live: World, *files: dict[str, Any]) -> list[Change]:
    return list(plan(live, files, namespace="default", now=NOW))


def brief(changes: list[Change]) -> list[tuple[str, Action, str, str, bool]]:
    return [(one.extension, one.action, one.before, one.after, one.runs) for one in changes]


def test_what_is_there_already_changes_nothing() -> None:
    live = world(objects.extension(spec={"settings": {"x": 1}}))
    assert brief(planned(live, written(settings={"x": 1}))) == [("hello", Action.NOTHING, "2.2.0", "2.2.0", False)]
    assert brief(planned(live)) == [("hello", Action.NOTHING, "2.2.0", "2.2.0", False)]


def test_a_new_extension_is_added_in_its_version_also_with_its_catalog_entry_and_machine_in_the_same_files() -> None:
    package = {"urls": ["http://127.0.0.1/x.zip"], "sha256": "0" * 64, "sizeBytes": 1}
    entry = written("vmext.third-1.0.0", "VirtualMachineExtensionImage", publisher="VMExt", type="Third")
    entry["spec"] |= {"version": "1.0.0", "package": package}
    files = [
        written("db-1", "VirtualMachine"),
        entry,
        written("third", vmName="db-1", type="Third", typeHandlerVersion="1"),
    ]
    (change,) = planned(World(), *files)
    assert (change.machine, change.handler) == (Key("default", "db-1"), "VMExt.Third")
    assert brief([change]) == [("third", Action.ADD, "", "1.0.0", True)]


def test_changed_settings_run_again_and_are_told_by_name_alone() -> None:
    live = world(objects.extension(spec={"settings": {"x": "old-value", "y": 1}}))
    (change,) = planned(live, written(settings={"x": "new-value", "z": 1}))
    assert brief([change]) == [("hello", Action.CHANGE, "2.2.0", "2.2.0", True)]
    assert change.why == ("settings change: x, y, z",)


def test_what_changes_without_running_says_so() -> None:
    live = world(objects.extension())
    (change,) = planned(live, written(timeout="5m"))
    assert (change.action, change.runs) == (Action.CHANGE, False)


def test_any_change_for_a_machine_brings_newer_versions_to_all_it_has() -> None:
    older = [image for image in IMAGES if image["spec"]["version"] == "2.1.0"]
    before = world(objects.extension(), objects.extension("other", spec={"type": "Other"}), images=older)
    live = World(
        before.machines, before.extensions, {Key("", one["metadata"]["name"]): one for one in IMAGES}, before.goals
    )
    assert {change.action for change in planned(live)} == {Action.NOTHING}
    changes = planned(live, written(tags={"a": "b"}))
    assert brief(changes) == [
        ("hello", Action.CHANGE, "2.1.0", "2.2.0", True),
        ("other", Action.CHANGE, "2.1.0", "2.2.0", True),
    ]
    assert changes[1].why == ("version 2.1.0 is replaced by 2.2.0",)


def test_what_can_not_be_carried_out_is_held_with_its_reason() -> None:
    live = world(objects.extension())
    changes = planned(
        live,
        written("second"),
        written("unknown", type="Nope"),
        written("nowhere", vmName="db-1"),
        written("waits", type="Other", dependsOn=["missing"]),
        written("elsewhere", type="Third", dependsOn=["nowhere"]),
    )
    found = {change.extension: change.why[0].partition(":")[0] for change in changes if change.action is Action.HOLD}
    assert found == {
        "nowhere": "there is no VirtualMachine default/db-1",
        "second": "HandlerConflict",
        "unknown": "UnknownImage",
        "waits": "WaitingForDependency",
        "elsewhere": "InvalidDependency",
    }


def test_settings_that_do_not_fit_are_held() -> None:
    schema = {"properties": {"x": {"type": "integer"}}}
    images = [objects.image(settingsSchema=schema), objects.image(type_="Other", settingsSchema={"$ref": "other"})]
    changes = planned(world(images=images), written(settings={"x": "y"}), written("other", type="Other"))
    assert [change.why[0] for change in changes] == [
        "InvalidSettings: settings.x: 'y' is not of type 'integer'",
        "InvalidSchema: $.$ref: 'other' leads out of the schema, and nothing is fetched",
    ]


def test_one_that_is_being_deleted_is_removed() -> None:
    live = world(objects.extension())
    leaving = objects.extension(deletionTimestamp="2026-01-01T00:09:00Z")
    live = World(live.machines, {Key("default", "hello"): leaving}, live.images, live.goals)
    assert brief(planned(live)) == [("hello", Action.REMOVE, "2.2.0", "", True)]


def test_a_paused_machine_changes_nothing() -> None:
    live = world(objects.extension())
    (change,) = planned(live, written("web-1", "VirtualMachine", paused=True), written(settings={"x": 1}))
    assert (change.action, change.why[0].partition(":")[0]) == (Action.HOLD, "Paused")


def test_protected_settings_change_only_where_their_declaration_does() -> None:
    vm = objects.machine()
    vm["status"] = {"credential": {"anchorUID": "a", "certificate": "PEM", "thumbprint": "AB" * 20}}
    secret = {"secretRef": {"name": "s", "key": "k"}}
    live = world(objects.extension(), vm=vm)
    changes = planned(live, written(protectedSettings=secret))
    assert brief(changes) == [("hello", Action.CHANGE, "2.2.0", "2.2.0", True)]
    assert changes[0].why == ("protected settings change, or can't be compared from here",)
    unenrolled = planned(world(objects.extension()), written(protectedSettings=secret))
    assert unenrolled[0].why[0].startswith("NotEnrolled")
