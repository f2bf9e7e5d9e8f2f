"""The API server as it answers whoever has a token, and tokens as they are at another time."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

import control_plane


def answer(cluster: control_plane.Cluster, token: str, path: str) -> int:
    """Return the HTTP status that a GET with a token gets."""
    headers = {"Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(cluster.server + path, headers=headers, verify=str(cluster.ca_file), timeout=30).status_code


def moved(control_plane_: control_plane.ControlPlane, token: str, *, seconds: float, lives: float | None = None) -> str:
    """Return a token as it will be that many seconds later: its times lie so much further back.

    Signed by the API server's own key, it is what that would take it for. `lives` gives it another lifetime.
    """
    head, payload, _ = token.split(".")
    claims = json.loads(_decoded(payload))
    life = claims["exp"] - claims["iat"] if lives is None else lives
    issued = int(claims["iat"] - seconds)
    claims |= {"iat": issued, "nbf": issued, "exp": int(issued + life)}
    key = serialization.load_pem_private_key(control_plane_.token_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "the control plane's is of another kind now"
    return signed_by(key, f"{head}.{_encoded(json.dumps(claims).encode())}.")


def signed_by(key: ec.EllipticCurvePrivateKey, token: str) -> str:
    """Return a token that says the same, signed by another key."""
    signed = token.rpartition(".")[0]
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def claims(token: str) -> Mapping[str, Any]:
    """Return what a token says of itself."""
    found: Mapping[str, Any] = json.loads(_decoded(token.split(".")[1]))
    return found


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
