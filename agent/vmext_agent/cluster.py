"""The API server: one GoalState (read, watch, patch its status) and one Lease (renew), over one choke point."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import __version__
from vmext_agent.access import Access
from vmext_agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmext_agent.config import Config

    Document = dict[str, "object"]

#: An object is at most 1.5 MiB in etcd; its JSON in an event is not much more.
_MAX_LINE = 8 << 20
_CONNECT_S = 10.0
_REQUEST_S = 30.0
#: The API server sends a bookmark about every minute: silence for longer means that the connection is dead.
_WATCH_S = 150.0
#: For how long a watch is asked for: the token is asked for when it begins, and not again. Not all in step.
_STREAM_S = (480, 600)
_UNACKNOWLEDGED_MS = 30_000
_MODIFIED = b'{"type":"MODIFIED","object":{'


class ClusterError(AgentError):
    """The API server did not do what it was asked. ``retry_after_s`` is its own wish, 0 where it has none."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ClusterError):
    """No answer, or one that says to come again: network, 429, 5xx."""


class UnauthorizedError(ClusterError):
    """401: the token is not, or no longer, good."""


class ForbiddenError(ClusterError):
    """403: the token's account may not do this."""


class NotFoundError(ClusterError):
    """404."""


class GoneError(ClusterError):
    """410: that resource version is too old to go on from; read again."""


class RefusedError(ClusterError):
    """400, 409, 413, 422: this very request will never be taken."""


class Event:
    """What a watch brings: an object's head at once, all of it when somebody asks.

    Most events are the echo of this machine's own reports: reading the whole goal for each would cost more the more
    extensions a machine has. ``is_there`` is false for a bookmark, and for an object that is gone (``deleted``).
    """

    __slots__ = ("_line", "_obj", "deleted", "generation", "is_there", "resource_version", "uid")

    def __init__(self, head: Head, *, obj: Document | None = None, line: bytes = b"", deleted: bool = False) -> None:
        self.resource_version, self.uid, self.generation = head
        self.is_there = bool(line) or obj is not None
        self.deleted = deleted
        self._obj = obj
        self._line = line

    def obj(self) -> Document:
        """Return the object. Raises UnavailableError where the rest of it is none after all."""
        if self._obj is None:
            self._obj, _ = _parsed(self._line)
            self._line = b""
        return self._obj

    def status(self) -> Document:
        """Return the object's status, empty where it has none."""
        found = self.obj().get("status")
        return found if isinstance(found, dict) else {}


class Head(NamedTuple):
    """What an object is known by."""

    resource_version: str
    uid: str = ""
    generation: int = 0


class Cluster:
    """A connection to the API server, kept open between calls; one thread uses it.

    Args:
        config: where the API server is, which object this agent's is, and where the token is.
        access: told of every answer, and asked before anything new is taken from a watch.
        token: to be used instead of that one; empty for none.
    """

    def __init__(self, config: Config, access: Access | None = None, *, token: str = "") -> None:
        self._config = config
        self._access = access or Access()
        self._given = token
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._connection: http.client.HTTPSConnection | None = None
        self._token = ""
        self._token_mark: tuple[int, int, int] | None = None
        self._lease_path = f"/apis/coordination.k8s.io/v1/namespaces/{config.namespace}/leases/vmext-vm-{config.name}"
        #: As it was when it was renewed last: who renews must say what it was.
        self._lease: Document | None = None
        self._path = f"/apis/vmext.dev/v1alpha1/namespaces/{config.namespace}/goalstates"
        try:
            self._tls.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AgentError(f"{config.ca_file}: can't be used as caFile: {error}") from None

    def read(self) -> Event:
        """Return the GoalState (``obj`` is None where there is none) and the version to watch from."""
        answer = self._call("GET", f"{self._path}?fieldSelector=metadata.name%3D{self._config.goal_state}")
        items, metadata = answer.get("items"), answer.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(items, list):
            raise UnavailableError("the API server's list of goal states has neither items nor metadata")
        found = items[0] if items and isinstance(items[0], dict) else None
        head = Head(str(metadata.get("resourceVersion", "")))
        if found is not None:
            head = _head(found)._replace(resource_version=head.resource_version)
        return Event(head, obj=found, deleted=found is None)

    def watch(self, resource_version: str) -> Iterator[Event]:
        """Yield what happens to the GoalState after a version, until the server ends the watch. Raises ClusterError."""
        target = (
            f"{self._path}?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3D{self._config.goal_state}"
            f"&resourceVersion={resource_version}&timeoutSeconds={random.randint(*_STREAM_S)}"  # noqa: S311 -- no secret
        )
        try:
            response = self._send("GET", target, None, {}, _WATCH_S)
            while True:
                line = response.readline(_MAX_LINE)
                if not line:
                    return
                if not line.endswith(b"\n"):
                    raise UnavailableError(
                        f"the watch broke in the middle of an event, or one is above {_MAX_LINE} bytes"
                    )
                if self._access.refused:
                    raise UnauthorizedError(f"the watch is begun anew: since it began, {self._access.refused}")
                yield event(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnavailableError(f"the watch broke: {error!r:.200}") from None
        finally:
            self.close()

    def patch_status(self, patch: Mapping[str, object]) -> str:
        """Merge into the GoalState's status; return its new resource version. Raises ClusterError."""
        headers = {
            "Content-Type": "application/merge-patch+json",
            # The answer would be the whole goal again; all that is wanted of it is in the metadata.
            "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json",
        }
        target = f"{self._path}/{self._config.goal_state}/status?fieldManager=vmext-agent"
        answer = self._call("PATCH", target, json.dumps({"status": patch}).encode(), headers)
        metadata = answer.get("metadata")
        return str(metadata.get("resourceVersion", "")) if isinstance(metadata, dict) else ""

    def renew_lease(self, holder: str, every_s: int, now: str) -> None:
        """Say by the machine's Lease that its agent is there, and which one. Raises ClusterError."""
        lease, self._lease = self._lease, None
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 3 * every_s, "renewTime": now}
        if lease is not None:
            try:
                self._lease = self._call("PUT", self._lease_path, json.dumps({**lease, "spec": spec}).encode())
            except RefusedError:
                # Somebody else has written it meanwhile; it is read, and renewed all the same.
                pass
        if self._lease is None:
            lease = self._call("GET", self._lease_path)
            self._lease = self._call("PUT", self._lease_path, json.dumps({**lease, "spec": spec}).encode())
        metadata = self._lease.get("metadata")
        if isinstance(metadata, dict):
            metadata.pop("managedFields", None)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Document:
        response = self._send(method, target, body, headers or {}, _REQUEST_S)
        try:
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnavailableError(f"{method} {target}: the answer broke: {error!r:.200}") from None
        if not isinstance(document, dict):
            raise UnavailableError(f"{method} {target}: the answer is not a JSON object")
        return document

    def _send(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer's beginning. The choke point: every request goes through here."""
        everything = {"User-Agent": f"vmext-agent/{__version__}", "Accept": "application/json", **headers}
        everything["Authorization"] = f"Bearer {self._current_token()}"
        reused, mark = self._connection is not None, self._access.begin()
        try:
            connection = self._open(timeout_s)
            connection.request(method, target, body, everything)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # A server closes connections that were idle; what is asked for here can be asked twice.
            if reused and isinstance(error, (ConnectionError, http.client.RemoteDisconnected, ssl.SSLEOFError)):
                return self._send(method, target, body, headers, timeout_s)
            where = f"{self._config.host}:{self._config.port}"
            raise UnavailableError(f"{where} can't be reached: {error!r:.200}") from None
        if response.status < 300:
            self._access.grant(mark)
            return response
        failure = self._failure(response, f"{method} {target.partition('?')[0]}")
        self.close()
        if isinstance(failure, (UnauthorizedError, ForbiddenError)):
            self._access.refuse(str(failure))
        raise failure

    def _failure(self, response: http.client.HTTPResponse, what: str) -> ClusterError:
        try:
            document = json.loads(response.read(1 << 16))
            said = str(document.get("message", "")) if isinstance(document, dict) else ""
        except (OSError, http.client.HTTPException, ValueError):
            said = ""
        wish = response.getheader("Retry-After") or ""
        message = f"{what}: {response.status} {said or response.reason}"[:2000]
        if response.status == http.client.UNAUTHORIZED:
            self._token_mark = None
            message += "; it does not take the token, which has ended, was revoked, or is another cluster's"
        kinds: dict[int, type[ClusterError]] = {
            401: UnauthorizedError,
            403: ForbiddenError,
            404: NotFoundError,
            410: GoneError,
        }
        kinds |= dict.fromkeys((400, 409, 413, 415, 422), RefusedError)
        kind = kinds.get(response.status, UnavailableError)
        return kind(message, float(wish) if wish.isdecimal() and len(wish) < 5 else 0.0)

    def _open(self, timeout_s: float) -> http.client.HTTPSConnection:
        if self._connection is None:
            connection = http.client.HTTPSConnection(
                self._config.host, self._config.port, timeout=_CONNECT_S, context=self._tls
            )
            self._connection = connection
            connection.connect()
            _keep_alive(connection.sock)
        self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _current_token(self) -> str:
        """Return the token, read again when its file has changed or the API server did not take it."""
        if self._given:
            return self._given
        path = self._config.token_file
        try:
            state = os.stat(path)
            mark = (state.st_mtime_ns, state.st_ino, state.st_size)
            if mark != self._token_mark:
                with open(path, encoding="ascii") as file:
                    self._token = file.read(1 << 16).strip()
                self._token_mark = mark
        except (OSError, ValueError) as error:
            raise UnauthorizedError(f"{path}: the token can't be read: {error.__class__.__name__}") from None
        if not self._token or not self._token.isprintable():
            raise UnauthorizedError(f"{path}: holds no token")
        return self._token


def _keep_alive(sock: socket.socket) -> None:
    """Have the kernel notice a peer that is gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


def event(line: bytes) -> Event:
    """Return what a line of a watch says. Raises ClusterError, also for what is no event."""
    glimpsed = _glimpse(line) if line.startswith(_MODIFIED) else None
    if glimpsed is not None:
        return Event(glimpsed, line=line)
    obj, kind = _parsed(line)
    if kind == "ERROR":
        message = f"watch: {obj.get('code')} {obj.get('message')}"
        raise GoneError(message) if obj.get("code") == http.client.GONE else UnavailableError(message)
    deleted = kind == "DELETED"
    return Event(_head(obj), obj=None if deleted or kind == "BOOKMARK" else obj, deleted=deleted)


def _parsed(line: bytes) -> tuple[Document, object]:
    """Return an event's object and type. Raises UnavailableError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"an event of the watch is not JSON: {error!r:.200}") from None
    if not isinstance(found, dict) or not isinstance(found.get("object"), dict):
        raise UnavailableError("an event of the watch is not an object with an object")
    return found["object"], found.get("type")


def _head(obj: Mapping[str, object]) -> Head:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return Head("")
    generation = metadata.get("generation")
    uid, version = str(metadata.get("uid")), str(metadata.get("resourceVersion", ""))
    return Head(version, uid, generation if isinstance(generation, int) else 0)


def _glimpse(line: bytes) -> Head | None:
    """Return an object's head without reading all of it; None where it is not in its usual place.

    The API server writes keys in order of the alphabet, metadata before spec. Within a text quotes are escaped, so that
    none of these can be part of one; a label of such a name comes before what it is mistaken for, an annotation's
    generation is no number.
    """
    end = line.find(b'"},"spec":{')
    uid = line.rfind(b'"uid":"', 0, end)
    version = line.rfind(b'"resourceVersion":"', 0, uid)
    generation = line.find(b'"generation":', 0, version)
    if min(end, uid, version, generation) < 0:
        return None
    number = line[generation + 13 : line.find(b",", generation)]
    if not number.isdigit() or len(number) > 18 or line.find(b'"', uid + 7) != end:
        return None
    texts = line[version + 19 : line.find(b'"', version + 19)], line[uid + 7 : end]
    # What is escaped is another text than it looks like; neither ever is.
    if any(b"\\" in text or not text.isascii() for text in texts):
        return None
    return Head(texts[0].decode(), texts[1].decode(), int(number))
