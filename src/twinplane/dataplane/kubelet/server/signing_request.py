"""`python -m twinplane.dataplane.kubelet.server.signing_request NAME [SUBJECT-ALTERNATIVE-NAME ...]`

A process of its own, because the cryptography library would cost the agent ten megabytes for the rest of its life.
Prints JSON: `key`, `request` (a CSR for kubernetes.io/kubelet-serving) and `certificate`, which the key signed itself
for a day. With `--expiry` it reads a certificate (PEM) from standard input and prints `not_after`, seconds since the
epoch.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

SELF_SIGNED = timedelta(days=1)
_CLOCKS_APART = timedelta(minutes=5)


def made(node: str, names: list[str]) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(alternatives, critical=False)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(now + SELF_SIGNED)
        .add_extension(alternatives, critical=False)
    )
    return {
        "key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "request": request.sign(key, SHA256()).public_bytes(Encoding.PEM).decode(),
        "certificate": certificate.sign(key, SHA256()).public_bytes(Encoding.PEM).decode(),
    }


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


if __name__ == "__main__":
    if sys.argv[1:] == ["--expiry"]:
        expiry = x509.load_pem_x509_certificate(sys.stdin.buffer.read()).not_valid_after_utc
        print(json.dumps({"not_after": expiry.timestamp()}))
    else:
        print(json.dumps(made(sys.argv[1], sys.argv[2:])))
