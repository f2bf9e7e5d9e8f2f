"""The API server as the user's kubeconfig names it: paths and dicts over the official client's connection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import kubernetes
import urllib3
import yaml

from kubectl_vmext.errors import (
    NoClusterError,
    NoRightsError,
    NotFoundError,
    PluginError,
    TakenError,
    TimedOutError,
    UsageError,
)

Object = dict[str, Any]
FIELD_MANAGER = "kubectl-vmext"
MACHINES, EXTENSIONS, IMAGES, GOALS = (
    "virtualmachines",
    "virtualmachineextensions",
    "virtualmachineextensionimages",
    "goalstates",
)

_GROUP = "/apis/vmext.dev/v1alpha1"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_POLL_S, _POLL_AT_MOST_S = 0.1, 1.0
_REQUEST_S = 30.0
#: Before a request that was turned away for now is made again.
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_PAGE = 500


class Address(NamedTuple):
    """Where the API server is, and the certificates that sign for it, in PEM."""

    server: str
    ca: str


class Cluster:
    """One cluster, as one user, in one namespace.

    Args:
        kubeconfig: a file, None for the usual places.
        context: of it, None for the current one.
        namespace: None for the context's.

    Raises:
        NoClusterError: the kubeconfig names none.
    """

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_kube_config(kubeconfig, context, configuration)
            contexts, current = kubernetes.config.list_kube_config_contexts(kubeconfig)
            chosen = next((one for one in contexts if one["name"] == context), current)
            self.namespace: str = namespace or chosen["context"].get("namespace") or "default"
        except (kubernetes.config.ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise NoClusterError(f"no cluster: {said}; name one by --kubeconfig and --context") from None
        # Once: the one who types sees sooner that a server is away than a program that waits for it would.
        configuration.retries = False
        if not configuration.verify_ssl:
            # The kubeconfig says so: nobody needs to be told at every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._configuration = configuration
        self._api = kubernetes.client.ApiClient(configuration)

    @property
    def host(self) -> str:
        """Return the API server's address."""
        return str(self._configuration.host)

    def address(self, server: str | None) -> Address:
        """Return what a machine has to know of the cluster; `server` in place of the kubeconfig's address."""
        path = self._configuration.ssl_ca_cert
        if not path:
            raise PluginError(
                "the kubeconfig names no certificate authority, and machines verify the API server by it; "
                "kubectl config set-cluster NAME --certificate-authority FILE"
            )
        return Address(server or self.host, Path(path).read_text())

    def get(self, path: str) -> Object | None:
        """Return an object, None where there is none. Raises PluginError."""
        try:
            return self.request("GET", path)
        except NotFoundError:
            return None

    def list(self, path: str, **query: str) -> Iterator[Object]:
        """Yield the objects of a collection, page by page. Raises PluginError."""
        token = ""
        while True:
            asked = query | {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            page = self.request("GET", f"{path}?{urlencode(asked)}")
            yield from page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def delete(self, path: str) -> None:
        """Delete an object, if there is one. Raises PluginError."""
        try:
            self.request("DELETE", path)
        except NotFoundError:
            pass

    def apply(self, path: str, obj: Mapping[str, Any], *, force: bool = False) -> Object:
        """Apply an object server-side. Raises TakenError where a field is looked after by somebody else."""
        query = f"?fieldManager={FIELD_MANAGER}" + ("&force=true" if force else "")
        return self.request("PATCH", path + query, obj, content_type=_APPLY)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str | None = None
    ) -> Object:
        """Make a request; return the object that came back. A PATCH is a merge patch unless said otherwise.

        Raises:
            NotFoundError, NoRightsError, TakenError: 404; 401 and 403; 409.
            NoClusterError: no answer.
            PluginError: any other refusal, in the server's words.
        """
        kind = content_type or (_MERGE if method == "PATCH" else "application/json")
        headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": FIELD_MANAGER}
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        for pause in (*_PAUSES_S, None):
            status, content = self._answer(method, path, headers, body)
            # Nothing was done: the server is busy, or has kinds that it has only just been told of.
            if status != 429 or pause is None:
                break
            time.sleep(pause)
        if status >= 300:
            raise _refusal(method, path.partition("?")[0], status, _words(content))
        return _object(self.host, content)

    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        try:
            answer = self._api.rest_client.request(
                method, self.host + path, headers=headers, body=body, _request_timeout=_REQUEST_S
            )
            return int(answer.status), bytes(answer.read())
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException, OSError) as error:
            said = " ".join(str(error).split())[:300]
            raise NoClusterError(f"{self.host} can't be reached: {said}; is that the cluster that you mean?") from None

    def await_(
        self,
        path: str,
        until: Callable[[Object | None], bool],
        *,
        timeout_s: float,
        seen: Callable[[Object | None], None] = lambda _: None,
    ) -> Object | None:
        """Return an object once it is as wanted, None where what is wanted is that there is none.

        Args:
            path: of the object.
            until: what is waited for.
            timeout_s: how long at most.
            seen: told each time how the object is.

        Raises:
            TimedOutError: it was not so in time.
            PluginError: the API server refuses, or does not answer.
        """
        deadline = time.monotonic() + timeout_s
        pause = _POLL_S
        while True:
            found = self.get(path)
            seen(found)
            if until(found):
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOutError(f"waited {timeout_s:.0f} s in vain for {path.rpartition('/')[2]}")
            time.sleep(min(pause, left))
            pause = min(_POLL_AT_MOST_S, pause * 1.2)

    def of(self, plural: str, name: str = "") -> str:
        """Return the path of one of our objects in the namespace, or of all of a kind."""
        return f"{_GROUP}/namespaces/{quote(self.namespace, safe='')}/{plural}" + _tail(name)

    def image(self, name: str = "") -> str:
        """Return the path of a catalog entry, or of all."""
        return f"{_GROUP}/{IMAGES}" + _tail(name)

    def core(self, plural: str, name: str = "") -> str:
        """Return the path of an object of the core group in the namespace, or of all of a kind."""
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/{plural}" + _tail(name)


def _tail(name: str) -> str:
    return f"/{quote(name, safe='')}" if name else ""


def _object(host: str, content: bytes) -> Object:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoClusterError(f"{host} does not answer as an API server; is that the cluster that you mean?")
    return found


def _refusal(method: str, path: str, status: int, words: str) -> PluginError:
    if status == 401:
        return NoRightsError(f"the API server does not know you ({words}); log in anew, or choose another --context")
    if status == 403:
        return NoRightsError(f"{words}; ask whoever runs the cluster for that right")
    if status == 404:
        if path.startswith(_GROUP) and "could not find" in words:
            return NotFoundError("this cluster has no vmext; install its chart, or choose another --context")
        return NotFoundError(words)
    if status == 409:
        return TakenError(words)
    if status == 422:
        return UsageError(words)
    return PluginError(f"{method} {path}: {status}: {words}")


def _words(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:700]
