"""Compact JSON web signatures with RS256: the part of RFC 7515 that service-account tokens need.

Used by `service_account_token` alone; a key's `kid` is what upstream computes, so tokens look the same.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

Claims = dict[str, Any]


def encode_segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_segment(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def key_id(key: RSAPublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return encode_segment(sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())


def web_key(key: RSAPublicKey) -> dict[str, str]:
    """The key as an entry of a JSON web key set."""
    numbers = key.public_numbers()

    def integer(value: int) -> str:
        return encode_segment(value.to_bytes((value.bit_length() + 7) // 8, "big"))

    return {
        "use": "sig",
        "kty": "RSA",
        "kid": key_id(key),
        "alg": "RS256",
        "n": integer(numbers.n),
        "e": integer(numbers.e),
    }


def sign(claims: Claims, key: RSAPrivateKey, kid: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    header = encode_segment(json.dumps({"alg": "RS256", "kid": kid}, separators=(",", ":")).encode())
    payload = encode_segment(json.dumps(claims, separators=(",", ":"), sort_keys=True).encode())
    signature = key.sign(f"{header}.{payload}".encode(), PKCS1v15(), SHA256())
    return f"{header}.{payload}.{encode_segment(signature)}"


def unverified_claims(token: str) -> Claims | None:
    """None for what is no JSON web signature at all."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(decode_segment(parts[1]))
    except (ValueError, UnicodeDecodeError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def signed_by(token: str, keys: Sequence[RSAPublicKey]) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    signed, _, signature = token.rpartition(".")
    try:
        header = json.loads(decode_segment(signed.partition(".")[0]))
        decoded = decode_segment(signature)
        data = signed.encode("ascii")
    except (ValueError, UnicodeError, RecursionError):
        return False
    if not isinstance(header, dict) or header.get("alg") != "RS256" or "crit" in header:
        return False
    for key in keys:
        try:
            key.verify(decoded, data, PKCS1v15(), SHA256())
            return True
        except InvalidSignature:
            continue
    return False
