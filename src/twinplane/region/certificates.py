"""The certificates of one cluster: its authority, and what that authority signs.

Elliptic keys (P-256) because a handshake with them costs a fraction of one with RSA; the service-account key is RSA,
since OIDC relying parties expect RS256 from an EKS issuer.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEARS_VALID = 10


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Paths of a certificate and its key, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Subject:
    """CN is the Kubernetes user, O its groups; `addresses` are DNS names and IP addresses of a server."""

    common_name: str
    organizations: Sequence[str] = ()
    addresses: Sequence[str] = ()


class CertificateAuthority:
    """A cluster's authority, kept in `folder`; made on first use."""

    def __init__(self, folder: Path, clock_now: float) -> None:
        self._folder = folder
        self._now = datetime.fromtimestamp(clock_now, UTC)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.certificate_path = folder / "ca.crt"
        key_path = folder / "ca.key"
        if key_path.exists():
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            self._key = loaded
            self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._certificate = self._self_signed()
            _write(self.certificate_path, self._certificate.public_bytes(serialization.Encoding.PEM))
            _write(key_path, _pem(self._key))

    def issue(self, name: str, subject: Subject) -> KeyPair:
        """A key pair for a server (when it has addresses) and client; the one already there when there is one."""
        pair = KeyPair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        if pair.certificate.exists() and pair.key.exists():
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if subject.addresses:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            self._builder(_distinguished_name(subject), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if subject.addresses:
            names = x509.SubjectAlternativeName([_general_name(address) for address in subject.addresses])
            builder = builder.add_extension(names, critical=False)
        _write(pair.key, _pem(key))
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return pair

    def _self_signed(self) -> x509.Certificate:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        return (
            self._builder(_distinguished_name(Subject("kubernetes")), self._key.public_key(), self_signed=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, self_signed: bool = False
    ) -> x509.CertificateBuilder:
        authority = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(minutes=5))
            .not_valid_after(self._now + timedelta(days=365 * YEARS_VALID))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        )


def service_account_key(path: Path) -> Path:
    """The RSA key that signs service-account tokens; made on first use."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    return path


def public_key(path: Path) -> str:
    """PEM of the public half of a private key's file."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def _distinguished_name(subject: Subject) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.organizations]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """A crash leaves no half-written key: the rename is the last step."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
