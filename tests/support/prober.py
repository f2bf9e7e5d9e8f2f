"""The API server as a thief sees it: every verb on all that it serves, tried with a stolen token.

Whether something works is decided at the API server's door: it answers 401 or 403 to who may not, before it looks at
what there is. Any other answer, be it that there is no such object or that a body makes no sense, is one to somebody
who may. Whatever would change something says that it is only tried (``dryRun``).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import control_plane

JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
#: What the API server serves besides resources.
OTHER_PATHS = (
    "/",
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/configz",
    "/debug/flags/v",
    "/debug/pprof/",
    "/flagz",
    "/healthz",
    "/livez",
    "/logs/",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/statusz",
    "/version",
)
_THREADS = 8
_EVERYWHERE = "*"
_TRY = "dryRun=All&fieldManager=thief"
_ON_ONE = (
    ("get", "GET", JSON, ""),
    ("update", "PUT", JSON, _TRY),
    ("patch", "PATCH", MERGE, _TRY),
    ("apply", "PATCH", APPLY, f"{_TRY}&force=true"),
    ("delete", "DELETE", JSON, _TRY),
)
_ON_ALL = (
    ("list", "GET", ""),
    ("watch", "GET", "watch=1&timeoutSeconds=1"),
    ("create", "POST", _TRY),
    ("deletecollection", "DELETE", _TRY),
)


class Resource(NamedTuple):
    """A resource of the API server: the path of its group and version, and its name with its subresource."""

    base: str
    name: str
    namespaced: bool

    @property
    def title(self) -> str:
        """Return its name as kubectl writes it: with its group, where that is not the core."""
        plural, slash, sub = self.name.partition("/")
        group = self.base.split("/")[2] if self.base.startswith("/apis/") else ""
        return plural + (f".{group}" if group else "") + slash + sub


class Works(NamedTuple):
    """Something that a token is good for.

    Attributes:
        namespace: ``*`` for any, empty for what has none.
        name: ``*`` for any, empty for a whole collection.
    """

    verb: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.verb:<18}{self.resource:<56}{self.namespace or '-':<16}{self.name or '-'}"


#: What every account of every cluster may by the API server's own defaults: ask who it is and what it may, read which
#: certificates the cluster trusts and how tokens are verified, and learn what is served.
OF_ALL = frozenset(
    {
        Works("create", "selfsubjectaccessreviews.authorization.k8s.io", "", ""),
        Works("create", "selfsubjectreviews.authentication.k8s.io", "", ""),
        Works("create", "selfsubjectrulesreviews.authorization.k8s.io", "", ""),
        Works("get", "clustertrustbundles.certificates.k8s.io", "", "*"),
        Works("list", "clustertrustbundles.certificates.k8s.io", "", ""),
        Works("watch", "clustertrustbundles.certificates.k8s.io", "", ""),
        Works("get", "/.well-known/openid-configuration", "", ""),
        Works("get", "/openid/v1/jwks", "", ""),
        *(Works("get", path, "", "") for path in ("/api", "/apis", "/openapi/v2", "/openapi/v3", "/version")),
        *(Works("get", path, "", "") for path in ("/healthz", "/livez", "/readyz")),
    }
)


class _Attempt(NamedTuple):
    """A request, and what it shows where it is not refused."""

    shows: Works
    method: str
    path: str
    kind: str = JSON


class Prober:
    """Requests to an API server with one token.

    Args:
        cluster: whose API server.
        token: that was stolen.
    """

    def __init__(self, cluster: control_plane.Cluster, token: str) -> None:
        address = urlsplit(cluster.server)
        self._host, self._port = str(address.hostname), address.port
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._token = token
        self._own = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Make a request; return the status and what came with it, None where that is no JSON."""
        status, content = self._exchange(method, path, body, kind, headers or {})
        try:
            return status, json.loads(content)
        except ValueError:
            return status, None

    def resources(self) -> list[Resource]:
        """Return what discovery tells of, every version of every group."""
        groups = self.ask("GET", "/apis")[1]["groups"]
        bases = ["/api/v1", *(f"/apis/{version['groupVersion']}" for one in groups for version in one["versions"])]
        return [
            Resource(base, one["name"], one["namespaced"])
            for base in bases
            for one in self.ask("GET", base)[1]["resources"]
        ]

    def what_works(self, names: Sequence[str], namespaces: Sequence[str]) -> set[Works]:
        """Try every verb on every resource, one by one and all at once, in those namespaces and across all."""
        attempts = [one for resource in self.resources() for one in _attempts(resource, names, namespaces)]
        attempts += [_Attempt(Works("get", path, "", ""), "GET", path) for path in OTHER_PATHS]
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            answers = list(threads.map(self._is_let_in, attempts))
        found = {attempt.shows for attempt, let_in in zip(attempts, answers, strict=True) if let_in}
        return _folded(found, set(names), set(namespaces))

    def rules(self, namespace: str) -> set[tuple[str, str, str]]:
        """Return what the API server itself says may be done in a namespace: verb, resource, name (``*`` for any)."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        status, answer = self.ask(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            review | {"spec": {"namespace": namespace}},
        )
        assert status == 201, answer
        assert not answer["status"]["incomplete"]
        return {
            (verb, f"{resource}.{group}" if group else resource, name)
            for rule in answer["status"]["resourceRules"]
            for verb, group, resource, name in itertools.product(
                rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames") or ["*"]
            )
        }

    def _is_let_in(self, attempt: _Attempt) -> bool:
        # Of a DELETE the query counts only where there is no body.
        body: Any = None if attempt.method in ("GET", "DELETE") else {}
        return self._exchange(attempt.method, attempt.path, body, attempt.kind, {})[0] not in (401, 403)

    def _exchange(self, method: str, path: str, body: Any, kind: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection: http.client.HTTPSConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=60, context=self._tls)
            self._own.connection = connection
            self._opened.append(connection)
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": kind, "Accept": JSON, **headers}
        # Of what is too large the API server does not read the rest before it answers.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            connection.request(method, path, None if body is None else json.dumps(body), sent)
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def _attempts(resource: Resource, names: Sequence[str], namespaces: Sequence[str]) -> Iterable[_Attempt]:
    plural, _, sub = resource.name.partition("/")
    # A collection can be read across all namespaces, too.
    for namespace in (*namespaces, "") if resource.namespaced else ("",):
        where = f"{resource.base}/namespaces/{namespace}/{plural}" if namespace else f"{resource.base}/{plural}"
        shown = namespace or (_EVERYWHERE if resource.namespaced else "")
        if namespace or not resource.namespaced:
            for name in names:
                one = f"{where}/{name}" + (f"/{sub}" if sub else "")
                for verb, method, kind, query in (*_ON_ONE, *([("create", "POST", JSON, _TRY)] if sub else [])):
                    yield _Attempt(Works(verb, resource.title, shown, name), method, f"{one}?{query}", kind)
        if sub:
            continue
        for verb, method, query in _ON_ALL:
            yield _Attempt(Works(verb, resource.title, shown, ""), method, f"{where}?{query}")
        for name in names:
            selected = f"{where}?fieldSelector=metadata.name%3D{name}"
            yield _Attempt(Works("list", resource.title, shown, name), "GET", selected)
            yield _Attempt(Works("watch", resource.title, shown, name), "GET", f"{selected}&watch=1&timeoutSeconds=1")


def _folded(found: set[Works], names: set[str], namespaces: set[str]) -> set[Works]:
    """Return the same with ``*`` where something works on every name, or in every namespace, that was tried."""
    by_name: dict[tuple[str, str, str], set[str]] = {}
    for verb, resource, namespace, name in found:
        by_name.setdefault((verb, resource, namespace), set()).add(name)
    by_place: dict[tuple[str, str, str], set[str]] = {}
    for (verb, resource, namespace), those in by_name.items():
        # Who may list or watch a collection may do so by name.
        kept = {""} if "" in those and verb in ("list", "watch") else those
        for name in {"*", *(kept - names)} if kept >= names else kept:
            by_place.setdefault((verb, resource, name), set()).add(namespace)
    return {
        Works(verb, resource, namespace, name)
        for (verb, resource, name), places in by_place.items()
        for namespace in ({_EVERYWHERE} if _EVERYWHERE in places or places >= namespaces else places)
    }
