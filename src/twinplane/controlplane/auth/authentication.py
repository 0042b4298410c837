"""The union authenticator: the first kind that knows the credentials decides; nobody's credentials are anonymous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twinplane.controlplane.auth.contract import ANONYMOUS, AUTHENTICATED, Authenticator, Credentials, UserInfo
from twinplane.kubeclient.errors import unauthorized


class UnionAuthenticator:
    """`anonymous=False` refuses requests without credentials."""

    def __init__(self, authenticators: Sequence[Authenticator], *, anonymous: bool = True) -> None:
        self._authenticators = tuple(authenticators)
        self._anonymous = anonymous

    async def authenticate(self, credentials: Credentials) -> UserInfo:
        """Raises `ApiError` Unauthorized for credentials that are bad or of no known kind."""
        if credentials.token or credentials.certificate:
            for authenticator in self._authenticators:
                user = await authenticator.authenticate(credentials)
                if user is not None:
                    return _authenticated(user)
            raise unauthorized()
        if not self._anonymous:
            raise unauthorized()
        return ANONYMOUS


def _authenticated(user: UserInfo) -> UserInfo:
    return user if AUTHENTICATED in user.groups else replace(user, groups=(*user.groups, AUTHENTICATED))
