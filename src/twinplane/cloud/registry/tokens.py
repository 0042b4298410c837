"""Passwords for `docker login`: what GetAuthorizationToken gives out, checked without being kept anywhere.

A password says whose it is, since what it may read and write follows from its owner's policies.
"""

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

    def issue(self, principal: str) -> tuple[str, int]:
        """`authorizationToken` (base64 of user and password) for an ARN, and when it ends, in seconds since the
        epoch."""
        expiration = int(self._clock.now()) + SECONDS
        claims = f"{expiration}.{base64.urlsafe_b64encode(principal.encode()).decode()}"
        password = f"{claims}.{self._signature(claims)}"
        return base64.b64encode(f"{USER}:{password}".encode()).decode(), expiration

    def principal(self, authorization: str) -> str:
        """The ARN behind an Authorization header; empty for one that is not ours, or over."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
            claims, _, signature = password.rpartition(".")
            expiration, _, principal = claims.partition(".")
            genuine = hmac.compare_digest(signature.encode(), self._signature(claims).encode())
            if scheme.lower() != "basic" or user != USER or not genuine or int(expiration) <= self._clock.now():
                return ""
            return base64.urlsafe_b64decode(principal).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""

    def _signature(self, claims: str) -> str:
        return hmac.digest(self._secret, b"registry:" + claims.encode(), "sha256").hex()
