"""Users by tokens that are known beforehand: components of the same process group, and tests."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest

from twinplane.controlplane.auth.contract import Credentials, UserInfo


class StaticTokenAuthenticator:
    """`users` by token. Unknown tokens are left to the next authenticator."""

    def __init__(self, users: Mapping[str, UserInfo]) -> None:
        self._users = {token.encode(): user for token, user in users.items()}

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        presented = credentials.token.encode("utf-8", "surrogateescape")
        found = None
        for token, user in self._users.items():
            if compare_digest(token, presented):
                found = user
        return found
