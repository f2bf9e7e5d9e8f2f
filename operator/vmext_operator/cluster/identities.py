"""What machines are given in the API server: accounts, roles, anchors, and tokens bound to those."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.errors import ClusterError, ConflictError, NotFoundError, TransientClusterError

SECRETS, ACCOUNTS = "core/v1/secrets", "core/v1/serviceaccounts"


class Token(NamedTuple):
    """A token as the API server granted it: it may live shorter than was asked for."""

    id: str
    token: str
    expires_at: str


class Identities:
    """Requests about machines' belongings. A kind is the path of its group and version, and its plural."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, kind: str, key: Key) -> dict[str, Any] | None:
        """Return an object's metadata, None where there is none. Raises ClusterError."""
        try:
            found = await self._client.request("GET", path(kind, key))
        except NotFoundError:
            return None
        metadata: dict[str, Any] = found["metadata"]
        return metadata

    async def read_secret(self, key: Key) -> Mapping[str, str]:
        """Return a Secret's data in base64. Raises ClusterError, whose words are never of the content."""
        try:
            found = await self._client.request("GET", path(SECRETS, key))
        except ClusterError as error:
            # Whoever answers for the API server may have put what he has of the Secret into the answer.
            words = "what the answer says is not repeated, since it may be of the content"
            raise type(error)(f"reading Secret {key}", error.status, words) from None
        data = found.get("data")
        if not isinstance(data, dict):
            return {}
        return {name: value for name, value in data.items() if isinstance(value, str)}

    async def apply(self, kind: str, key: Key, obj: Mapping[str, Any]) -> None:
        """Have an object be as wanted, whether it was there or not. Raises ClusterError."""
        await self._client.apply_at(path(kind, key), obj)

    async def create(self, kind: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create an object; return its metadata, None where one of its name is there. Raises ClusterError."""
        try:
            created = await self._client.request("POST", path(kind, Key(namespace, "")), body=obj)
        except ConflictError:
            return None
        metadata: dict[str, Any] = created["metadata"]
        return metadata

    async def delete(self, kind: str, key: Key) -> None:
        """Delete an object, if there is one. Raises ClusterError."""
        try:
            await self._client.request("DELETE", path(kind, key))
        except NotFoundError:
            return

    async def mint(self, key: Key, *, bound_to: str, uid: str, seconds: int) -> Token:
        """Return a new token for an account.

        Args:
            key: of the account.
            bound_to: name of the Secret with which the token ends.
            uid: of that Secret: another one of its name is not meant.
            seconds: that it should live.

        Raises:
            ClusterError: the API server does not grant one.
        """
        bound = {"apiVersion": "v1", "kind": "Secret", "name": bound_to, "uid": uid}
        body = {"spec": {"audiences": [], "expirationSeconds": seconds, "boundObjectRef": bound}}
        answer = await self._client.request("POST", f"{path(ACCOUNTS, key)}/token", body=body)
        token = str(answer["status"]["token"])
        return Token(claims(token)["jti"], token, str(answer["status"]["expirationTimestamp"]))


def claims(token: str) -> dict[str, Any]:
    """Return what a token says of itself. Raises TransientClusterError where it is none."""
    try:
        payload = token.split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        str(found["jti"])
    except (IndexError, ValueError, KeyError, TypeError):
        # Nothing of it is said: it may be a good one.
        raise TransientClusterError("reading a new token", 0, "it has no payload with a jti") from None
    return found


def path(kind: str, key: Key) -> str:
    """Return the path of an object, of its namespace's collection (no name) or of the whole collection (empty)."""
    group, version, plural = kind.split("/")
    base = f"/api/{version}" if group == "core" else f"/apis/{group}/{version}"
    target = f"{base}/namespaces/{quote(key.namespace, safe='')}/{plural}" if key.namespace else f"{base}/{plural}"
    return f"{target}/{quote(key.name, safe='')}" if key.name else target
