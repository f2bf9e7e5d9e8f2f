"""The API server as a user of vmext sees it: plain objects, on the official client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.watch
import yaml

GROUP, VERSION = "vmext.dev", "v1alpha1"
PLURALS = {
    "VirtualMachine": "virtualmachines",
    "VirtualMachineExtension": "virtualmachineextensions",
    "VirtualMachineExtensionImage": "virtualmachineextensionimages",
    "GoalState": "goalstates",
}
ApiException = kubernetes.client.ApiException
Object = dict[str, Any]


class TimedOutError(Exception):
    """What was waited for did not come in time; the message says how things stand instead."""


class Api:
    """One API server.

    Args:
        kubeconfig: the file that says where it is and who asks.
        namespace: where namespaced objects are.
    """

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        self._client = kubernetes.config.new_client_from_config(config_file=str(kubeconfig))
        self._custom = kubernetes.client.CustomObjectsApi(self._client)
        self.core = kubernetes.client.CoreV1Api(self._client)
        self.rbac = kubernetes.client.RbacAuthorizationV1Api(self._client)
        self.namespace = namespace

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def apply(self, obj: Mapping[str, Any]) -> Object:
        """Create an object of ours or bring it to what is given, as ``kubectl apply --server-side`` does."""
        kind, name = obj["kind"], obj["metadata"]["name"]
        arguments = self._arguments(kind, name) | {
            "body": obj,
            "field_manager": "user",
            "force": True,
            "_content_type": "application/apply-patch+yaml",
        }
        call = (
            self._custom.patch_cluster_custom_object
            if _is_cluster_scoped(kind)
            else self._custom.patch_namespaced_custom_object
        )
        return _as_object(call(**arguments))

    def apply_file(self, path: Path) -> list[Object]:
        """Apply every object in a YAML file."""
        return [self.apply(obj) for obj in yaml.safe_load_all(path.read_text()) if obj]

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or None where there is none."""
        call = (
            self._custom.get_cluster_custom_object
            if _is_cluster_scoped(kind)
            else self._custom.get_namespaced_custom_object
        )
        try:
            return _as_object(call(**self._arguments(kind, name)))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; one that is gone already is no error."""
        call = (
            self._custom.delete_cluster_custom_object
            if _is_cluster_scoped(kind)
            else self._custom.delete_namespaced_custom_object
        )
        try:
            call(**self._arguments(kind, name))
        except ApiException as error:
            if error.status != 404:
                raise

    def patch_status(self, kind: str, name: str, status: Mapping[str, Any]) -> Object:
        """Merge a patch into an object's status."""
        return _as_object(
            self._custom.patch_namespaced_custom_object_status(
                **self._arguments(kind, name),
                body={"status": status},
                _content_type="application/merge-patch+json",
            )
        )

    def wait(
        self, kind: str, name: str, until: Callable[[Object | None], bool], *, timeout_s: float = 30.0
    ) -> Object | None:
        """Return an object as soon as it is as wanted; None where what is wanted is that there is none.

        Raises:
            TimedOutError: with the object as it is instead.
        """
        deadline = time.monotonic() + timeout_s
        seen: Object | None = None
        while True:
            try:
                seen = self.get(kind, name)
                if until(seen):
                    return seen
                for changed in self._watch(kind, name, seen, deadline):
                    seen = changed
                    if until(seen):
                        return seen
            except (ApiException, OSError, kubernetes.client.OpenApiException) as error:
                if isinstance(error, ApiException) and error.status == 403:
                    raise
            except Exception as error:
                # urllib3's errors come through as they are when the server goes away in the middle of a stream.
                if not type(error).__module__.startswith("urllib3"):
                    raise
            if time.monotonic() > deadline:
                shown = "it is not there" if seen is None else json.dumps(seen.get("status"), indent=1)
                raise TimedOutError(f"{kind} {name} is not as wanted after {timeout_s:.0f} s: {shown}")
            time.sleep(0.02)

    def wait_ready(self, name: str, *, timeout_s: float = 30.0) -> Object:
        """Return an extension as soon as its Ready is True for what is declared now."""
        obj = self.wait("VirtualMachineExtension", name, is_ready, timeout_s=timeout_s)
        assert obj is not None
        return obj

    def wait_stalled(self, name: str, reason: str | None = None, *, timeout_s: float = 30.0) -> Object:
        """Return an extension as soon as it is Stalled, with that reason where one is given."""

        def stalled(obj: Object | None) -> bool:
            found = condition(obj, "Stalled")
            return found is not None and (reason is None or found["reason"] == reason)

        obj = self.wait("VirtualMachineExtension", name, stalled, timeout_s=timeout_s)
        assert obj is not None
        return obj

    def wait_gone(self, kind: str, name: str, *, timeout_s: float = 30.0) -> None:
        """Return as soon as an object is gone."""
        self.wait(kind, name, lambda obj: obj is None, timeout_s=timeout_s)

    def _watch(self, kind: str, name: str, since: Object | None, deadline: float) -> Iterator[Object | None]:
        call = (
            self._custom.list_cluster_custom_object
            if _is_cluster_scoped(kind)
            else self._custom.list_namespaced_custom_object
        )
        arguments = {key: value for key, value in self._arguments(kind, name).items() if key != "name"}
        if since is not None:
            arguments["resource_version"] = since["metadata"]["resourceVersion"]
        watch = kubernetes.watch.Watch()
        for event in watch.stream(
            call,
            **arguments,
            field_selector=f"metadata.name={name}",
            timeout_seconds=max(1, min(30, int(deadline - time.monotonic()))),
        ):
            yield None if event["type"] == "DELETED" else event["object"]

    def _arguments(self, kind: str, name: str) -> dict[str, Any]:
        arguments = {"group": GROUP, "version": VERSION, "plural": PLURALS[kind], "name": name}
        return arguments if _is_cluster_scoped(kind) else arguments | {"namespace": self.namespace}


def condition(obj: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any] | None:
    """Return an object's condition of that type, if it speaks of the object's present generation."""
    if obj is None:
        return None
    status = obj.get("status") or {}
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return None
    return next((one for one in status.get("conditions") or () if one["type"] == kind), None)


def is_ready(obj: Mapping[str, Any] | None) -> bool:
    """Tell whether an object's Ready is True for what is declared now."""
    found = condition(obj, "Ready")
    return found is not None and found["status"] == "True"


def _is_cluster_scoped(kind: str) -> bool:
    return kind == "VirtualMachineExtensionImage"


def _as_object(answer: object) -> Object:
    assert isinstance(answer, dict)
    return answer
