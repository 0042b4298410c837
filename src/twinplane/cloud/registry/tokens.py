"""Passwords for `docker login`: what GetAuthorizationToken gives out, checked without being kept anywhere."""

from __future__ import annotations

import base64
import binascii
import hmac

from twinplane.clock import Clock

USER = "AWS"
SECONDS = 12 * 3600
"""As ECR's."""


class Tokens:
    def __init__(self, secret: bytes, clock: Clock) -> None:
        """`secret` is the region's."""
        self._secret = secret
        self._clock = clock

    def issue(self) -> tuple[str, int]:
        """`authorizationToken` (base64 of user and password), and when it ends, in seconds since the epoch."""
        expiration = int(self._clock.now()) + SECONDS
        password = f"{expiration}.{self._signature(str(expiration))}"
        return base64.b64encode(f"{USER}:{password}".encode()).decode(), expiration

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header is one of ours and not over."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        expiration, _, signature = password.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(expiration).encode())
        fresh = expiration.isdecimal() and int(expiration) > self._clock.now()
        return scheme.lower() == "basic" and user == USER and genuine and fresh

    def _signature(self, expiration: str) -> str:
        return hmac.digest(self._secret, b"registry:" + expiration.encode(), "sha256").hex()
