"""The API server as the user's kubeconfig names it: paths and dicts over the official client's connection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import kubernetes
import urllib3

from kubectl_vmext.errors import PluginError

Object = dict[str, Any]
_GROUP = "/apis/vmext.dev/v1alpha1"
_MERGE = "application/merge-patch+json"
_POLL_S = 0.1
_REQUEST_S = 30.0


class Address(NamedTuple):
    """Where the API server is, and the certificates that sign for it, in PEM."""

    server: str
    ca: str


class RefusedError(PluginError):
    """The API server refused; ``status`` is the HTTP status."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: {status}: {message}")
        self.status = status


class Cluster:
    """One cluster, as one user, in one namespace.

    Args:
        kubeconfig: a file, None for the usual places.
        context: of it, None for the current one.
        namespace: None for the context's.
    """

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_kube_config(kubeconfig, context, configuration)
            contexts, current = kubernetes.config.list_kube_config_contexts(kubeconfig)
        except kubernetes.config.ConfigException as error:
            raise PluginError(f"no cluster: {error}; see kubectl config view") from None
        chosen = next((one for one in contexts if one["name"] == context), current)
        self.namespace = namespace or chosen["context"].get("namespace") or "default"
        self._configuration = configuration
        self._api = kubernetes.client.ApiClient(configuration)

    def address(self, server: str | None) -> Address:
        """Return what a machine has to know of the cluster; `server` in place of the kubeconfig's address."""
        path = self._configuration.ssl_ca_cert
        if not path:
            raise PluginError("the kubeconfig names no certificate authority; give one with --certificate-authority")
        return Address(server or self._configuration.host, Path(path).read_text())

    def get(self, path: str) -> Object | None:
        """Return an object, None where there is none. Raises PluginError."""
        try:
            return self.request("GET", path)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, path: str) -> None:
        """Delete an object, if there is one. Raises PluginError."""
        try:
            self.request("DELETE", path)
        except RefusedError as error:
            if error.status != 404:
                raise

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Object:
        """Make a request; return the object that came back. A PATCH is a merge patch. Raises PluginError."""
        headers = {"Accept": "application/json", "Content-Type": _MERGE if method == "PATCH" else "application/json"}
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        host = self._configuration.host
        try:
            answer = self._api.rest_client.request(
                method, host + path, headers=headers, body=body, _request_timeout=_REQUEST_S
            )
            content: bytes = answer.read()
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException) as error:
            raise PluginError(f"{host} can't be reached: {str(error)[:300]}") from None
        if answer.status >= 300:
            raise RefusedError(f"{method} {path}", answer.status, _words(content))
        found: Object = json.loads(content)
        return found

    def await_(self, path: str, until: Callable[[Object | None], bool], *, timeout_s: float) -> Object | None:
        """Return an object once it is as wanted, None where it is not in time. Raises PluginError."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get(path)
            if until(found):
                return found
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_S)

    def of(self, plural: str, name: str = "") -> str:
        """Return the path of one of our objects in the namespace, or of all of a kind."""
        return f"{_GROUP}/namespaces/{quote(self.namespace)}/{plural}" + (f"/{quote(name)}" if name else "")

    def core(self, plural: str, name: str = "") -> str:
        """Return the path of an object of the core group in the namespace, or of all of a kind."""
        return f"/api/v1/namespaces/{quote(self.namespace)}/{plural}" + (f"/{quote(name)}" if name else "")


def _words(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return text[:500]
