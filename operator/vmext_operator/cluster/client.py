"""The one way to the API server: a handful of verbs over the official client's connection, on plain dicts.

The official package gives what is dull and hard: kubeconfigs, in-cluster tokens that change, TLS. Its models are left
out, since custom objects have none. All requests go through :meth:`Client.request`, which bounds how many are under
way, lets no write out past the Lease's end, and turns every failure into one of the operator's own errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import kopf
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from vmext_operator.api import GROUP, VERSION
from vmext_operator.api.meta import Key
from vmext_operator.cluster.term import Term
from vmext_operator.errors import (
    ConfigurationError,
    ConflictError,
    GoneError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    TransientClusterError,
)

FIELD_MANAGER = "vmext-operator"
PAGE_SIZE = 500

#: The server sends a bookmark about every minute: silence for longer means that the connection is dead.
_SILENCE_S = 150.0
#: For how long a connection without requests is kept: longer than the minute between two reads of the machines' Leases,
#: so that what is declared after a silence waits for no handshake; shorter than the 90 s after which the server closes.
_KEPT_S = 75.0

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
#: Codes by which a server says "not now" instead of "no". 401 is among them: a token that is being renewed.
_TRANSIENT = frozenset({401, 408, 429, 500, 502, 503, 504})


class Client:
    """Requests to one API server.

    Args:
        kubeconfig: a file's path, or None for the place that the environment names, in a Pod its ServiceAccount.
        in_flight: how many requests may be under way at once.
        watches: how many connections stay open beside those of requests.
        timeout_s: of each request.
        term: for how long may be written; None for whoever writes only the Lease itself.
        told: called after each request with its method, its path, the status (0 for no answer) and the seconds it took.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None,
        term: Term | None,
        in_flight: int = 64,
        watches: int = 8,
        timeout_s: float = 30.0,
        told: Callable[[str, str, int, float], None] = lambda *_: None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._slots = asyncio.Semaphore(in_flight)
        self._connections = in_flight + watches
        self._timeout_s = timeout_s
        self._term = term
        self._told = told
        self._api: kubernetes_client.ApiClient | None = None
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Client:
        configuration = kubernetes_client.Configuration()
        try:
            if self._kubeconfig is not None:
                await kubernetes_config.load_kube_config(
                    config_file=self._kubeconfig, client_configuration=configuration
                )
            else:
                kubernetes_config.load_incluster_config(client_configuration=configuration)
        except kubernetes_config.ConfigException as error:
            where = self._kubeconfig or "this is no Pod, and neither --kubeconfig nor KUBECONFIG is given"
            raise ConfigurationError(f"no API server: {where}: {error}") from error
        configuration.connection_pool_maxsize = self._connections
        tracing = aiohttp.TraceConfig()
        # The head of a request that has a body is sent with that, in a task of its own: others may run before it does.
        tracing.on_request_headers_sent.append(self._before_sending)
        tracing.on_request_chunk_sent.append(self._before_sending)
        configuration.trace_configs = [tracing]
        # Once, instead of in a thread for each request; and no password of .netrc is ever sent.
        configuration.proxy = configuration.proxy or _proxy(configuration.host)
        configuration.client_session_kwargs = {"trust_env": False}
        self._api = kubernetes_client.ApiClient(configuration)
        # Theirs keeps a connection for 15 s. The session is made with the first request, and is not this one's owner.
        self._connector = aiohttp.TCPConnector(
            limit=configuration.connection_pool_maxsize,
            ssl=self._api.rest_client.ssl_context,
            keepalive_timeout=_KEPT_S,
        )
        configuration.client_session_kwargs["connector"] = self._connector
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()
        if self._connector is not None:
            await self._connector.close()

    async def kopf_login(self) -> kopf.ConnectionInfo:
        """Return the same credentials as kopf takes them."""
        assert self._api is not None, "the client is used inside 'async with' only"
        configuration = self._api.configuration
        # With the scheme's name before it, which a Pod's has in lower case and a kubeconfig's has not.
        token = (await configuration.get_api_key_with_prefix("BearerToken") or "").rpartition(" ")[2]
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=token or None,
        )

    async def get(self, plural: str, key: Key) -> dict[str, Any]:
        """Return an object. Raises ClusterError."""
        return await self.request("GET", path(plural, key))

    async def list_all(self, plural: str, namespace: str = "") -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """Yield all objects of a kind in pages, each with the whole list's resourceVersion. Raises ClusterError.

        They are listed in a namespace, or in every one where that is empty.
        """
        async for page in self.list_at(path(plural, Key(namespace, ""))):
            yield page["items"], page["metadata"]["resourceVersion"]

    async def list_at(self, target: str, accept: str = _JSON) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of the list at a path, in a form that is accepted. Raises ClusterError."""
        token = ""
        while True:
            query = {"limit": str(PAGE_SIZE)} | ({"continue": token} if token else {})
            page = await self.request("GET", target, query=query, accept=accept)
            yield page
            token = page["metadata"].get("continue") or ""
            if not token:
                return

    def watch(self, plural: str, namespace: str, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield what happens to a kind in a namespace, or (empty) in all, after a version, as ``watch_at`` does."""
        return self.watch_at(path(plural, Key(namespace, "")), version)

    async def watch_at(
        self, target: str, version: str, accept: str = _JSON
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield what happens at a path after a resourceVersion, as type and object, until the server ends the watch.

        Raises:
            GoneError: the server no longer remembers that version.
            ClusterError: no answer, a refusal, or silence for longer than the server's bookmarks allow.
        """
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        rest, what = b"", f"WATCH {target}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=_SILENCE_S)
        try:
            answer = await self._send("GET", target, query, None, _JSON, timeout, accept)
            async with answer:
                if answer.status >= 300:
                    _answer(what, answer.status, await answer.read())
                async for part in answer.content.iter_any():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        yield _event(what, line)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TransientClusterError(what, 0, str(error) or type(error).__name__) from error

    async def create(self, plural: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; one that is there already is a ConflictError. Raises ClusterError."""
        query = {"fieldManager": FIELD_MANAGER}
        about = path(plural, Key(namespace, obj["metadata"]["name"]))
        return await self.request("POST", path(plural, Key(namespace, "")), query=query, body=obj, about=about)

    async def apply(self, plural: str, key: Key, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Apply an object server-side, as owner of every field in it. Raises ClusterError."""
        return await self.apply_at(path(plural, key), obj)

    async def apply_at(self, target: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Apply an object of any kind at its path. Raises ClusterError."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self.request("PATCH", target, query=query, body=obj, content_type=_APPLY)

    async def patch(self, plural: str, key: Key, patch: Mapping[str, Any], *, status: bool = False) -> dict[str, Any]:
        """Merge a patch into an object or into its status. Raises ClusterError."""
        target = path(plural, key) + ("/status" if status else "")
        query = {"fieldManager": FIELD_MANAGER}
        return await self.request("PATCH", target, query=query, body=patch, content_type=_MERGE)

    async def delete(self, plural: str, key: Key, *, uid: str) -> None:
        """Delete the object that has this UID; one that is gone already is a NotFoundError. Raises ClusterError."""
        await self.request("DELETE", path(plural, key), body={"preconditions": {"uid": uid}})

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Write an Event. Raises ClusterError."""
        await self.request("POST", f"/api/v1/namespaces/{quote(namespace)}/events", body=event)

    async def request(
        self,
        method: str,
        target: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        about: str = "",
        accept: str = _JSON,
    ) -> dict[str, Any]:
        """Make a request and return the object that came back.

        Args:
            method: of HTTP.
            target: the path.
            query: what stands behind it.
            body: the object that is sent.
            content_type: of the body.
            about: the path of the object that is meant, where that is not the target.
            accept: the form of what comes back.

        Raises:
            TransientClusterError: no answer, or one that may be another next time.
            ConflictError, NotFoundError: 409 (and 412), 404.
            RefusedError: any other refusal.
            LeaseLostError: it is a write, and this process may not write.
        """
        what = f"{method} {target}"
        begun, status = time.monotonic(), 0
        try:
            async with self._slots:
                timeout_s, asked = self._timeout_s, dict(query or {})
                if self._term is not None and method != "GET":
                    timeout_s = min(timeout_s, self._term.check(what))
                    # The server gives it up by then too, wherever it waits there.
                    asked["timeout"] = f"{timeout_s * 1000:.0f}ms"
                timeout = aiohttp.ClientTimeout(total=timeout_s)
                response = await self._send(method, target, asked, body, content_type, timeout, accept)
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error.__cause__, LeaseLostError):
                raise error.__cause__ from None
            raise TransientClusterError(what, 0, str(error) or type(error).__name__) from error
        finally:
            self._told(method, about or target, status, time.monotonic() - begun)
        return _answer(what, status, content)

    async def _send(
        self,
        method: str,
        target: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        accept: str,
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer's beginning. The choke point: every request goes through here."""
        assert self._api is not None, "the client is used inside 'async with' only"
        configuration = self._api.configuration
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        token = await configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        url = configuration.host + target + (f"?{urlencode(query)}" if query else "")
        sent = await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = sent.response
        return response

    async def _before_sending(
        self,
        _session: aiohttp.ClientSession,
        _context: object,
        sent: aiohttp.TraceRequestHeadersSentParams | aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        """Look at the clock once more, with a connection at hand: nothing waits between here and the socket."""
        if self._term is not None and sent.method != "GET":
            self._term.check(f"{sent.method} {sent.url.path}")


def _proxy(server: str) -> str | None:
    """Return the proxy that the environment names for a server, None for none."""
    parts = urlsplit(server)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def path(plural: str, key: Key) -> str:
    """Return the path of an object, of a namespace's collection (no name) or of the whole one (no namespace either)."""
    parts = ["/apis", GROUP, VERSION]
    if key.namespace:
        parts += ["namespaces", quote(key.namespace, safe="")]
    parts.append(plural)
    if key.name:
        parts.append(quote(key.name, safe=""))
    return "/".join(parts)


def _event(what: str, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        event = json.loads(line)
        kind, obj = str(event["type"]), event["object"]
    except (ValueError, KeyError, TypeError):
        raise TransientClusterError(what, 0, f"an event is none: {line[:100]!r}") from None
    if kind == "ERROR":
        _answer(what, int(obj.get("code") or 500), json.dumps(obj).encode())
    return kind, obj


def _answer(what: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
        obj: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    except ValueError:
        obj = {}
    if status < 300:
        return obj
    # Cut: a server repeats what it refuses, and that may be long.
    message = str(obj.get("message") or content.decode(errors="replace"))[:500]
    if status in (409, 412):
        raise ConflictError(what, status, message)
    if status == 404:
        raise NotFoundError(what, status, message)
    if status == 410:
        raise GoneError(what, status, message)
    if status in _TRANSIENT:
        raise TransientClusterError(what, status, message)
    raise RefusedError(what, status, message)
