"""The lifecycle of handlers as users see it, from kubectl to what a handler was run with and back."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from development.api import Object, condition
from development.house import House, extension
from guests.agent_machine import tracer_zip
from support.waiting import eventually

KIND = "VirtualMachineExtension"
#: For a handler that takes several: the status file has the extension's name.
ENABLE_ONE_OF_SEVERAL = """
cat > status/$ConfigExtensionName.$ConfigSequenceNumber.status <<END
[{"version": 1.0, "timestampUTC": "2026-01-01T00:00:00Z", "status": {"status": "success", "operation": "Enable",
 "formattedMessage": {"lang": "en", "message": "I am $ConfigExtensionName"}}}]
END
"""


def type_of(vm: str) -> str:
    return "life" + vm.replace("-", "")


def offer(home: House, vm: str, version: str, manifest: dict[str, Any] | None = None, **spec: Any) -> None:
    """Enter a version of the test's own handler, the tracer, into the catalog."""
    content, type_ = tracer_zip(**(manifest or {})), type_of(vm)
    (home.served / f"{type_}-{version}.zip").write_bytes(content)
    package = {
        "urls": [f"{home.url}/{type_}-{version}.zip"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
    }
    home.api.apply(
        {
            "apiVersion": "vmext.dev/v1alpha1",
            "kind": "VirtualMachineExtensionImage",
            "metadata": {"name": f"test.{type_}-{version}"},
            "spec": {"publisher": "Test", "type": type_, "version": version, "package": package} | spec,
        }
    )


def declare(home: House, vm: str, name: str, **spec: Any) -> str:
    """Declare an extension of it; return its name."""
    base = {"publisher": "Test", "type": type_of(vm), "typeHandlerVersion": "1.0"}
    home.api.apply(extension(f"{name}-{vm}", vm, **(base | spec)))
    return f"{name}-{vm}"


def does(home: House, vm: str, command: str, script: str) -> None:
    home.guests[vm].write(f"/etc/tracer/{command}", script.encode(), mode=0o644)


def order(home: House, vm: str) -> list[str]:
    try:
        lines = home.guests[vm].read("/var/log/tracer.order").decode().splitlines()
    except FileNotFoundError:
        return []
    return [" ".join(line.split()[:2]) for line in lines]


def ready_words(obj: Object) -> str:
    found = condition(obj, "Ready")
    assert found is not None
    return str(found["message"])


def test_a_handler_takes_several_extensions_and_leaves_with_the_last(home: House, vm: str) -> None:
    offer(home, vm, "1.0.0", {"supportsMultipleExtensions": "true"}, multiConfig=True)
    does(home, vm, "enable", ENABLE_ONE_OF_SEVERAL)
    names = [declare(home, vm, name) for name in ("one", "two")]

    said = [home.api.wait_ready(name)["status"]["statuses"][0]["message"] for name in names]
    assert said == [f"I am {name}" for name in names]
    assert order(home, vm) == ["1.0.0 install", "1.0.0 enable", "1.0.0 enable"]

    home.api.delete(KIND, names[0])
    home.api.wait_gone(KIND, names[0])
    assert order(home, vm)[3:] == ["1.0.0 disable"]
    home.api.wait_ready(names[1])

    home.api.delete(KIND, names[1])
    home.api.wait_gone(KIND, names[1])
    assert order(home, vm)[4:] == ["1.0.0 disable", "1.0.0 uninstall"]


def test_an_update_that_fails_goes_back_and_says_which_version_is_in_force(home: House, vm: str) -> None:
    offer(home, vm, "1.0.0")
    name = declare(home, vm, "one")
    home.api.wait_ready(name)
    offer(home, vm, "1.1.0")
    does(home, vm, "1.1.0/install", "echo the disk is of another kind >&2; exit 7")

    declare(home, vm, "one", typeHandlerVersion="1.1")

    stalled = home.api.wait_stalled(name, "InstallFailed")
    assert stalled["status"]["typeHandlerVersion"] == "1.0.0"
    assert "version 1.1.0 failed, 1.0.0 is back in force" in ready_words(stalled)
    assert "the disk is of another kind" in ready_words(stalled)
    assert order(home, vm)[2:] == [
        *("1.0.0 disable", "1.1.0 update", "1.0.0 uninstall", "1.1.0 install", "1.1.0 uninstall"),
        *("1.0.0 install", "1.0.0 enable"),
    ]
    # Another extension's coming is no reason to try it again; a change of its own is.
    before = len(order(home, vm))
    other = f"other-{vm}"
    home.api.apply(extension(other, vm, settings={"commandToExecute": "true"}))
    home.api.wait_ready(other)
    assert len(order(home, vm)) == before
    does(home, vm, "1.1.0/install", ":")
    declare(home, vm, "one", typeHandlerVersion="1.1", forceUpdateTag="again")
    home.api.wait(KIND, name, lambda obj: (obj or {})["status"].get("typeHandlerVersion") == "1.1.0")
    home.api.wait_ready(name)


def test_an_extension_deleted_while_its_enable_hangs_is_gone_within_35_s(home: House, vm: str) -> None:
    offer(home, vm, "1.0.0")
    # Whoever listens to SIGTERM is gone at once; this one has to be killed.
    does(home, vm, "enable", "trap '' TERM; while :; do sleep 1; done")
    name = declare(home, vm, "one")
    eventually(lambda: "1.0.0 enable" in order(home, vm))

    begun = time.monotonic()
    home.api.delete(KIND, name)
    home.api.wait_gone(KIND, name, timeout_s=60)

    assert time.monotonic() - begun <= 35
    assert order(home, vm) == ["1.0.0 install", "1.0.0 enable", "1.0.0 uninstall"]


def test_a_cluster_that_forgot_its_numbers_is_told_and_goes_on_above_them(home: House, vm: str) -> None:
    offer(home, vm, "1.0.0")
    name = declare(home, vm, "one")
    home.api.wait_ready(name)
    for tag in ("a", "b", "c"):
        declare(home, vm, "one", forceUpdateTag=tag)
        eventually(lambda: order(home, vm)[-1:] == ["1.0.0 enable"])
        home.api.wait_ready(name)
    assert number(home, name) == 4

    # As after a restore of etcd from before there was anything.
    home.operator.stop()
    home.api.delete("GoalState", vm)
    home.api.patch_status(KIND, name, {"sequenceNumber": None, "statuses": None, "conditions": None})
    home.operator.start()

    home.api.wait(KIND, name, lambda obj: (obj or {})["status"].get("sequenceNumber", 0) > 4)
    home.api.wait_ready(name)
    assert number(home, name) == 5


def number(home: House, name: str) -> int:
    found = home.api.get(KIND, name)
    assert found is not None
    return int(found["status"]["sequenceNumber"])
