"""Keys and certificates of one control plane."""

from __future__ import annotations

import datetime
import ipaddress
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control_plane.errors import ControlPlaneError

_LASTING = datetime.timedelta(days=3650)
#: What an API server on loopback is reached by.
_HERE = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who gets a certificate: the name of its files, whom it names, and what it is for."""

    file: str
    common_name: str
    purpose: x509.ObjectIdentifier
    organization: str | None = None


_SERVER = _Holder("server", "kube-apiserver", ExtendedKeyUsageOID.SERVER_AUTH)
_ADMIN = _Holder("admin", "admin", ExtendedKeyUsageOID.CLIENT_AUTH, organization="system:masters")
_CONTROLLERS = _Holder("controller-manager", "system:kube-controller-manager", ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where everything is; the files are 0600."""

    ca: Path
    server: Pair
    admin: Pair
    controller_manager: Pair
    #: The key that signs ServiceAccounts' tokens.
    service_account_key: Path


def make(folder: Path, names: Sequence[str] = ()) -> Certificates:
    """Make a folder with the keys and certificates of a control plane, or use the one that is there.

    The authority's own key is never written: nobody can make further ones.

    Args:
        folder: for the files.
        names: names and addresses, besides those of loopback, that the API server is reached by.

    Raises:
        ControlPlaneError: the certificate that is there lacks one of the names.
    """
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="keys-", dir=folder.parent) as scratch:
            draft = Path(scratch) / "keys"
            draft.mkdir(mode=0o700)
            _fill(draft, names)
            draft.rename(folder)
    server, admin, controllers = (
        Pair(folder / f"{holder.file}.crt", folder / f"{holder.file}.key") for holder in (_SERVER, _ADMIN, _CONTROLLERS)
    )
    if lacking := lacks(server.certificate, names):
        raise ControlPlaneError(
            f"the certificate of the API server in {folder.parent} does not name {', '.join(lacking)}; "
            "end that control plane and remove its data, and a new one will"
        )
    return Certificates(folder / "ca.crt", server, admin, controllers, folder / "service-accounts.key")


def lacks(certificate: Path, names: Iterable[str]) -> list[str]:
    """Return which of some names and addresses a certificate does not have."""
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    found = set(read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return [name for name in names if _general_name(name) not in found]


def _fill(folder: Path, names: Sequence[str]) -> None:
    authority_key = _key()
    authority = _authority(authority_key)
    _write(folder / "ca.crt", authority.public_bytes(Encoding.PEM))
    for holder in (_SERVER, _ADMIN, _CONTROLLERS):
        key = _key()
        certificate = _certificate(holder, key, authority, authority_key, names)
        _write(folder / f"{holder.file}.key", _pem(key))
        _write(folder / f"{holder.file}.crt", certificate.public_bytes(Encoding.PEM))
    _write(folder / "service-accounts.key", _pem(_key()))


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("vmext development control plane")
    return (
        _draft(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    holder: _Holder,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
) -> x509.Certificate:
    # What newer clients insist on is spelled out: key usages, and key identifiers to build the chain by.
    draft = (
        _draft(_name(holder.common_name, holder.organization), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([holder.purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if holder.purpose == ExtendedKeyUsageOID.SERVER_AUTH:
        # Each once, in the order in which they were given.
        reached_by = [_general_name(name) for name in dict.fromkeys((*_HERE, *names))]
        draft = draft.add_extension(x509.SubjectAlternativeName(reached_by), critical=False)
    return draft.sign(authority_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ControlPlaneError(f"{name!r} is neither an address nor a name in DNS: {error}") from error


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + _LASTING)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The form that kube-apiserver reads for a ServiceAccount's key as well as for a server's.
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _write(file: Path, content: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
