"""The API server as a user of vmext sees it: plain objects in, plain objects out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import requests
import yaml

GROUP, VERSION = "vmext.dev", "v1alpha1"
PLURALS = {
    "VirtualMachine": "virtualmachines",
    "VirtualMachineExtension": "virtualmachineextensions",
    "VirtualMachineExtensionImage": "virtualmachineextensionimages",
    "GoalState": "goalstates",
}
Object = dict[str, Any]

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: the HTTP status.
        message: the server's own words.
    """

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: {status}: {message}")
        self.status = status
        self.message = message


class TimedOutError(Exception):
    """What was waited for did not come in time; the message says how things stand instead."""


class Api:
    """One API server.

    Args:
        kubeconfig: the file that says where it is and who asks.
        namespace: where namespaced objects are.
    """

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        self._server = str(configuration.host)
        self._session = requests.Session()
        # A CA bundle or a proxy named by the environment would win over what the kubeconfig says.
        self._session.trust_env = False
        self._session.verify = configuration.ssl_ca_cert or True
        if configuration.cert_file:
            self._session.cert = (configuration.cert_file, configuration.key_file or configuration.cert_file)
        token = configuration.get_api_key_with_prefix("BearerToken")
        if token:
            self._session.headers["Authorization"] = token
        self.namespace = namespace

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def apply(self, obj: Mapping[str, Any]) -> Object:
        """Create an object of ours or bring it to what is given, as ``kubectl apply --server-side`` does."""
        target = self.path(obj["kind"], obj["metadata"]["name"]) + "?fieldManager=user&force=true"
        return self.request("PATCH", target, obj, _APPLY)

    def apply_file(self, path: Path) -> list[Object]:
        """Apply every object in a YAML file."""
        return [self.apply(obj) for obj in yaml.safe_load_all(path.read_text()) if obj]

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or None where there is none."""
        try:
            return self.request("GET", self.path(kind, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            self.request("DELETE", self.path(kind, name))
        except ApiError as error:
            if error.status != 404:
                raise

    def patch_status(self, kind: str, name: str, status: Mapping[str, Any]) -> Object:
        """Merge a patch into an object's status."""
        return self.request("PATCH", self.path(kind, name) + "/status", {"status": status}, _MERGE)

    def wait(
        self, kind: str, name: str, until: Callable[[Object | None], bool], *, timeout_s: float = 30.0
    ) -> Object | None:
        """Return an object as soon as it is as wanted; None where what is wanted is that there is none.

        It goes on through an API server that is away for a while.

        Raises:
            TimedOutError: with the object as it is instead.
        """
        deadline = time.monotonic() + timeout_s
        seen: Object | None = None
        while time.monotonic() < deadline:
            try:
                seen = self.get(kind, name)
                if until(seen):
                    return seen
                for changed in self._watch(kind, name, seen, deadline):
                    seen = changed
                    if until(seen):
                        return seen
            except requests.RequestException:
                pass
            except ApiError as error:
                if error.status not in (401, 410, 429) and error.status < 500:
                    raise
            time.sleep(0.02)
        shown = "it is not there" if seen is None else json.dumps(seen.get("status"), indent=1)
        raise TimedOutError(f"{kind} {name} is not as wanted after {timeout_s:.0f} s: {shown}")

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

    def request(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, content_type: str = "application/json"
    ) -> Object:
        """Make a request by its path. Raises ApiError, or the ``requests`` library's own where no answer came."""
        answer = self._session.request(
            method,
            self._server + target,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=30,
        )
        return _object(f"{method} {target}", answer)

    def path(self, kind: str, name: str = "") -> str:
        """Return the path of an object, or of all of its kind where no name is given.

        A GoalState goes by the name of its machine here: its own is that of one enrolment.
        """
        if kind == "GoalState" and name:
            name = self.goal_name(name)
        namespace = "" if kind == "VirtualMachineExtensionImage" else f"/namespaces/{self.namespace}"
        return f"/apis/{GROUP}/{VERSION}{namespace}/{PLURALS[kind]}" + (f"/{name}" if name else "")

    def goal_name(self, machine: str) -> str:
        """Return the name of a machine's newest GoalState; where it has none, the machine's, which no GoalState has."""
        target = f"{self.path('GoalState')}?fieldSelector=spec.vmName%3D{machine}"
        deadline = time.monotonic() + 30
        while True:
            try:
                found = self.request("GET", target)["items"]
                break
            except ApiError as error:
                # A moment after the kind was installed its fields can't be selected by yet.
                if error.status != 429 or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)
        newest = max(found, key=lambda one: int(one["metadata"]["resourceVersion"]), default=None)
        return machine if newest is None else str(newest["metadata"]["name"])

    def _watch(self, kind: str, name: str, since: Object | None, deadline: float) -> Iterator[Object | None]:
        selected = f"spec.vmName={name}" if kind == "GoalState" else f"metadata.name={name}"
        query = f"?watch=1&fieldSelector={selected}"
        if since is not None:
            query += f"&resourceVersion={since['metadata']['resourceVersion']}"
        left = max(1, min(30, int(deadline - time.monotonic())))
        target = self.path(kind) + f"{query}&timeoutSeconds={left}"
        with self._session.get(self._server + target, stream=True, timeout=left + 5) as answer:
            if answer.status_code != 200:
                _object(f"GET {target}", answer)
            # A chunk is what the server sends at once: an event is seen when it is sent, not when a buffer is full.
            for line in answer.iter_lines(chunk_size=None):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(f"GET {target}", event["object"]["code"], event["object"]["message"])
                yield None if event["type"] == "DELETED" else event["object"]


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


def _object(what: str, answer: requests.Response) -> Object:
    try:
        parsed = answer.json()
    except ValueError:
        parsed = {}
    obj: Object = parsed if isinstance(parsed, dict) else {}
    if answer.status_code >= 300:
        raise ApiError(what, answer.status_code, str(obj.get("message") or answer.text[:200]))
    return obj
