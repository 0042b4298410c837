"""One HTTP request as it arrives: what httptools calls back with, gathered into a `Request`."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.auth.contract import Credentials

MAX_HEADER_BYTES = 64 * 1024
_JOINED = frozenset({"accept", "sec-websocket-protocol", "x-stream-protocol-version"})
_REPEATED = frozenset({"impersonate-group"})
"""Headers that may come several times; their values are kept apart by line breaks."""

BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""Followed by the token in URL-safe base64 without padding."""


class Incoming:
    """`too_large` is set as soon as the body exceeds the limit; what follows is not kept."""

    __slots__ = ("_body", "_body_bytes", "_header_bytes", "_limit", "_url", "headers", "too_large")

    def __init__(self, limit: int) -> None:
        self.headers: dict[str, str] = {}
        self.too_large = False
        self._limit = limit
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._header_bytes = 0

    def add_url(self, data: bytes) -> None:
        self._url += data

    def add_header(self, name: bytes, value: bytes) -> bool:
        """False when the headers are longer than allowed."""
        key, text = _lower(name), value.decode("latin-1")
        self._header_bytes += len(name) + len(value)
        before = self.headers.get(key)
        if before is not None and (key in _REPEATED or key.startswith("impersonate-extra-")):
            text = f"{before}\n{text}"
        elif before is not None and key in _JOINED:
            text = f"{before}, {text}"
        self.headers[key] = text
        return self._header_bytes <= MAX_HEADER_BYTES

    def add_body(self, data: bytes) -> bool:
        """False when the body is longer than allowed; said once."""
        if self.too_large:
            return True
        self._body_bytes += len(data)
        if self._body_bytes > self._limit:
            self.too_large = True
            self._body = []
            return False
        self._body.append(data)
        return True

    def expects_too_much(self) -> bool:
        length = self.headers.get("content-length", "")
        return length.isdigit() and int(length) > self._limit

    def finish(self, method: str, certificate: bytes) -> Request:
        path, _, text = self._url.decode("latin-1").partition("?")
        if "%" in path:
            path = unquote(path, errors="replace")
        query, queries = _query(text) if text else ({}, {})
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        authorization = self.headers.get("authorization", "")
        token = _token(authorization) if authorization else self._protocol_token()
        credentials = Credentials(token, certificate)
        return Request(method, path, query, self.headers, body, credentials, None, queries, text)

    def _protocol_token(self) -> str:
        """Browsers cannot set headers on a WebSocket, so a token may come as one of its protocols."""
        protocols = self.headers.get("sec-websocket-protocol")
        if protocols is None or BEARER_PROTOCOL not in protocols:
            return ""
        names = [name.strip() for name in protocols.split(",")]
        self.headers["sec-websocket-protocol"] = ", ".join(name for name in names if BEARER_PROTOCOL not in name)
        encoded = next(name for name in names if BEARER_PROTOCOL in name).removeprefix(BEARER_PROTOCOL)
        try:
            return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            # No token of anybody: refused like any other that is wrong.
            return encoded


@lru_cache(maxsize=256)
def _lower(name: bytes) -> str:
    """Clients send the same few names again and again."""
    return name.decode("latin-1").lower()


def _query(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    queries: dict[str, list[str]] = {}
    for name, value in pairs:
        queries.setdefault(name, []).append(value)
    return dict(pairs), queries


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
