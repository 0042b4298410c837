"""Signing AWS requests (Signature Version 4) with the standard library alone.

For the places where botocore would cost more than the call: `twinplane token`, which kubectl runs before every command,
and the processes of a cluster, which ask the region a few simple things and should stay small. The verifying side is
`cloud.signature`.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of one principal for one service in one region."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    region: str
    service: str

    def headers(
        self, method: str, url: str, now: float, *, body: bytes = b"", more: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The headers to send: `more`, the date, the token and the Authorization that covers them all."""
        parts = urlsplit(url)
        stamp = _stamp(now)
        sent = {name.lower(): value for name, value in (more or {}).items()} | {"x-amz-date": stamp}
        if self.session_token:
            sent["x-amz-security-token"] = self.session_token
        signed = {**sent, "host": parts.netloc}
        names = ";".join(sorted(signed))
        digest = hashlib.sha256(body).hexdigest() if body else _EMPTY
        query = _query(parse_qsl(parts.query, keep_blank_values=True))
        canonical = _canonical(method, _encode(parts.path or "/", "/"), query, signed, digest)
        credential = f"{self.access_key_id}/{self._scope(stamp)}"
        signature = self._signature(stamp, canonical)
        sent["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return sent

    def presigned_url(
        self, url: str, parameters: Mapping[str, str], headers: Mapping[str, str], expires_seconds: int, now: float
    ) -> str:
        """A GET of `url` with the signature in its query; whoever uses it must send `headers` as they are."""
        parts = urlsplit(url)
        stamp = _stamp(now)
        signed = {name.lower(): value for name, value in headers.items()} | {"host": parts.netloc}
        query = dict(parameters) | {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.access_key_id}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_seconds),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
        }
        if self.session_token:
            query["X-Amz-Security-Token"] = self.session_token
        encoded = _query(list(query.items()))
        canonical = _canonical("GET", _encode(parts.path or "/", "/"), encoded, signed, _EMPTY)
        return f"{url}?{encoded}&X-Amz-Signature={self._signature(stamp, canonical)}"

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"

    def _signature(self, stamp: str, canonical: str) -> str:
        scope = self._scope(stamp)
        to_sign = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = b"AWS4" + self.secret_access_key.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical(method: str, path: str, query: str, headers: Mapping[str, str], body_digest: str) -> str:
    names = sorted(headers)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    return "\n".join((method, path, query, lines, ";".join(names), body_digest))


def _query(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted((_encode(n), _encode(v)) for n, v in pairs))


def _encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe + "-_.~")


def _stamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
