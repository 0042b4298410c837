"""Signing with the cluster's authority: upstream's PermissiveSigningPolicy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinplane.controlplane.controllers.certificates.requests import SigningRequest, Unacceptable

if TYPE_CHECKING:
    from cryptography import x509

YEAR = 365 * 24 * 3600
"""Seconds; --cluster-signing-duration."""
SHORTEST = 600
_BACKDATE = timedelta(minutes=5)
_SHORT_LIVED = timedelta(hours=8)
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_FIELDS = tuple(dict.fromkeys(_KEY_USAGES.values()))
_EXTENDED = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


class Authority:
    """Reads certificate and key (PEM files) when it first signs."""

    def __init__(self, certificate_file: str, key_file: str) -> None:
        self._files = (certificate_file, key_file)
        self._loaded: tuple[Any, Any] | None = None

    def sign(self, request: SigningRequest, now: float, seconds: int | None) -> bytes:
        """The certificate, PEM. `seconds` is how long it shall live, at most a year. Raises `Unacceptable`."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        certificate, key = self._load()
        begin, end = _validity(datetime.fromtimestamp(int(now), UTC), seconds)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.x509.subject)
            .issuer_name(certificate.subject)
            .public_key(request.x509.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(min(end, certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        for extension, critical in _extensions(request, certificate):
            builder = builder.add_extension(extension, critical=critical)
        signed = builder.sign(key, _digest(key))
        return signed.public_bytes(serialization.Encoding.PEM)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from cryptography import x509
            from cryptography.hazmat.primitives import serialization

            certificate, key = (Path(file).read_bytes() for file in self._files)
            self._loaded = (x509.load_pem_x509_certificate(certificate), serialization.load_pem_private_key(key, None))
        return self._loaded


def _digest(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _validity(now: datetime, seconds: int | None) -> tuple[datetime, datetime]:
    lifetime = timedelta(seconds=YEAR if seconds is None else min(YEAR, max(SHORTEST, seconds)))
    end = now + lifetime
    return now - _BACKDATE, end if lifetime < _SHORT_LIVED else end - _BACKDATE


def _extensions(request: SigningRequest, authority: x509.Certificate) -> Iterable[tuple[x509.ExtensionType, bool]]:
    from cryptography import x509

    usages = dict.fromkeys(_FIELDS, False)
    extended: list[x509.ObjectIdentifier] = []
    for usage in sorted(request.usages):
        if usage in _KEY_USAGES:
            usages[_KEY_USAGES[usage]] = True
        elif usage in _EXTENDED:
            extended.append(x509.ObjectIdentifier(_EXTENDED[usage]))
        else:
            raise Unacceptable(f'unrecognized usage values: ["{usage}"]')
    if any(usages.values()):
        if not usages["key_agreement"]:
            # These two refine key agreement and mean nothing without it.
            usages["encipher_only"] = usages["decipher_only"] = False
        yield x509.KeyUsage(**usages), True
    if extended:
        yield x509.ExtendedKeyUsage(list(dict.fromkeys(extended))), False
    try:
        names = request.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        yield names.value, names.critical
    except x509.ExtensionNotFound:
        pass
    issuer = authority.public_key()
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False  # type: ignore[arg-type]  # of any CA key
