"""Session tokens of IMDSv2: bound to their instance and to a time, by HMAC; nothing is stored."""

from __future__ import annotations

import base64
import hmac
import struct

SECONDS_MIN, SECONDS_MAX = 1, 21_600


class Tokens:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, instance_id: str, expires: float) -> str:
        """`expires`: seconds since the epoch."""
        stamp = struct.pack("!d", expires)
        return base64.urlsafe_b64encode(stamp + self._digest(instance_id, stamp)).decode()

    def valid(self, token: str, instance_id: str, now: float) -> bool:
        try:
            content = base64.urlsafe_b64decode(token)
        except ValueError:
            return False
        stamp, digest = content[:8], content[8:]
        if len(stamp) < 8 or not hmac.compare_digest(digest, self._digest(instance_id, stamp)):
            return False
        return now < float(struct.unpack("!d", stamp)[0])

    def _digest(self, instance_id: str, stamp: bytes) -> bytes:
        return hmac.digest(self._secret, stamp + instance_id.encode(), "sha256")
