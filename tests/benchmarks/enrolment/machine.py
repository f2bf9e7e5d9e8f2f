"""One machine that is enrolled: what ``kubectl vmext enroll`` does for it, and what its agent then does itself.

The agent's requests are its own, with its own tokens: to propose a certificate, to say which token it has, to watch its
goal state for the next one, and to try that before it is taken.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from benchmarks.fleet import wire
from benchmarks.fleet.declared import BASE
from benchmarks.fleet.wire import Connection, Pool, Server
from support import tokens
from support.certificates import certificate
from vmext_operator.api import API_VERSION
from vmext_operator.api.goal_state import name_of
from vmext_operator.core import identity

_HOUR_S = 3600


class Machine:
    """A machine, from its declaration to the token that it uses.

    Args:
        namespace: its own.
        name: its own.
        key: several machines of a fleet share one: what it takes to make keys is no part of this.
    """

    def __init__(self, namespace: str, name: str, key: rsa.RSAPrivateKey) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = self.anchor = self.pem = ""
        self._key = key
        self.held: Mapping[str, Any] = {}

    def path(self, plural: str) -> str:
        """Return the path of its own object of a kind of ours."""
        name = name_of(self.name, self.anchor) if plural == "goalstates" else self.name
        return f"{BASE}/namespaces/{self.namespace}/{plural}/{name}"

    def core(self, plural: str, name: str = "") -> str:
        """Return the path of one of its objects of the core group."""
        target = f"/api/v1/namespaces/{self.namespace}/{plural}"
        return f"{target}/{name}" if name else target

    async def declare(self, users: Pool) -> None:
        """Declare it, as a user does."""
        metadata = {"name": self.name, "namespace": self.namespace}
        obj = {"apiVersion": API_VERSION, "kind": "VirtualMachine", "metadata": metadata}
        applied = await users.apply(self.path("virtualmachines"), obj)
        self.uid = applied["metadata"]["uid"]

    def make_certificate(self) -> None:
        """Make its certificate."""
        self.pem = certificate(self.uid, self._key)

    async def enroll(self, users: Pool, server: Server) -> None:
        """Enrol it, and return when its agent uses a token that the operator minted."""
        connection = Connection(server, await self._first_token(users))
        try:
            await self._report(connection)
            token = await self._next(connection)
            connection.close()
            connection.token = token
            # It is taken once the API server has answered to it.
            await connection.request("GET", self.path("goalstates"))
            await self._report(connection)
        finally:
            connection.close()

    async def _first_token(self, users: Pool) -> str:
        """Do what the plugin does: make the Secret that the first token is bound to, anew, and ask for that token."""
        name = identity.enrolment(self.name)
        try:
            await users.request("DELETE", self.core("secrets", name))
        except wire.RequestError as error:
            if error.status != 404:
                raise
        labels = {"app.kubernetes.io/managed-by": "vmext", "vmext.dev/vm": self.name}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}
        made = json.loads(await users.request("POST", self.core("secrets"), secret))
        bound = {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": made["metadata"]["uid"]}
        asked = {"spec": {"expirationSeconds": _HOUR_S, "boundObjectRef": bound}}
        target = f"{self.core('serviceaccounts', identity.account(self.name))}/token"
        token: str = json.loads(await users.request("POST", target, asked))["status"]["token"]
        return token

    async def _report(self, connection: Connection) -> None:
        """Say what an agent says when it starts, and when it has taken another token."""
        claims = tokens.claims(connection.token)
        self.held = {
            "id": claims["jti"],
            "boundUID": claims["kubernetes.io"]["secret"]["uid"],
            "issuedAt": _rfc3339(claims["iat"]),
            "expiresAt": _rfc3339(claims["exp"]),
        }
        status = {
            "agentVersion": "0.1.0",
            "guest": {"os": "debian", "version": "12", "arch": "x86_64", "hostname": self.name, "kernel": "6.1.0"},
            "highestSequenceNumber": 0,
            "certificateRequest": {"anchorUID": self.anchor, "certificate": self.pem},
            "credential": self.held,
        }
        await connection.request("PATCH", f"{self.path('goalstates')}/status", {"status": status}, wire.MERGE)

    async def _next(self, connection: Connection) -> str:
        """Watch the goal state until there is another token in it; return that, opened."""
        target = (
            f"{BASE}/namespaces/{self.namespace}/goalstates?watch=1"
            f"&fieldSelector=metadata.name%3D{name_of(self.name, self.anchor)}"
            "&resourceVersion=0"
        )
        async for line in connection.watch(target):
            given = json.loads(line)["object"].get("spec", {}).get("credential")
            if given is not None:
                return self._opened(given["token"])
        raise wire.RequestError(target, 0, "the watch ended before there was a token")

    def _opened(self, sealed: str) -> str:
        own = x509.load_pem_x509_certificate(self.pem.encode())
        return pkcs7.pkcs7_decrypt_der(base64.b64decode(sealed), own, self._key, []).decode()


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
