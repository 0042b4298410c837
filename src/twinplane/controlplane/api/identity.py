"""Who a request counts as: what it authenticates as, or, with the right to impersonate, whom it names instead."""

from __future__ import annotations

from collections import OrderedDict
from urllib.parse import unquote

from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.api.runtime import ServerRuntime
from twinplane.controlplane.auth.contract import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Attributes,
    Credentials,
    UserInfo,
)
from twinplane.kubeclient.errors import bad_request, forbidden, unauthorized

REMEMBERED_SECONDS = 10.0
"""As upstream keeps successful token lookups."""
REMEMBERED = 4096
_PREFIX = "impersonate-"
_SERVICE_ACCOUNT = "system:serviceaccount:"


class Identities:
    """Successful authentications are remembered for a few seconds; refusals are always asked again."""

    def __init__(self, runtime: ServerRuntime) -> None:
        self._runtime = runtime
        self._remembered: OrderedDict[Credentials, tuple[UserInfo, float]] = OrderedDict()

    async def of(self, request: Request) -> UserInfo:
        """Raises Unauthorized, and Forbidden for an impersonation that is not allowed."""
        user = request.user or await self._authenticated(request)
        if "impersonate-user" in request.headers or any(name.startswith(_PREFIX) for name in request.headers):
            return self._impersonated(request, user)
        return user

    async def impersonator(self, request: Request) -> UserInfo | None:
        """Who asks to be another; None for everybody else."""
        if "impersonate-user" not in request.headers:
            return None
        return request.user or await self._authenticated(request)

    async def _authenticated(self, request: Request) -> UserInfo:
        credentials = request.credentials
        if not credentials.token and not credentials.certificate:
            return await self._asked(credentials)
        now = self._runtime.monotonic()
        known = self._remembered.get(credentials)
        if known is not None and known[1] > now:
            return known[0]
        user = await self._asked(credentials)
        self._remembered[credentials] = (user, now + REMEMBERED_SECONDS)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return user

    async def _asked(self, credentials: Credentials) -> UserInfo:
        user = await self._runtime.authenticator.authenticate(credentials)
        if user is None:
            if credentials.token or credentials.certificate:
                raise unauthorized()
            return ANONYMOUS
        return user

    def _impersonated(self, request: Request, user: UserInfo) -> UserInfo:
        headers = request.headers
        name = headers.get("impersonate-user", "")
        groups = [group for group in headers.get("impersonate-group", "").split("\n") if group]
        uid = headers.get("impersonate-uid", "")
        extra = _extra(request)
        if not name:
            raise bad_request(f"requested {[*groups, uid, *extra]} impersonation without impersonating a user")
        self._allow(user, _user_attributes(user, name))
        for group in groups:
            self._allow(user, Attributes(user, "impersonate", resource="groups", name=group))
        for key, values in extra.items():
            for value in values:
                group = "authentication.k8s.io"
                attributes = Attributes(user, "impersonate", group, "v1", "userextras", key, name=value)
                self._allow(user, attributes)
        if uid:
            self._allow(user, Attributes(user, "impersonate", "authentication.k8s.io", "v1", "uids", name=uid))
        return UserInfo(name, _with_implied(name, groups), uid, extra)

    def _allow(self, user: UserInfo, attributes: Attributes) -> None:
        decision = self._runtime.authorizer.authorize(attributes)
        if not decision.allowed:
            from twinplane.controlplane.auth.authorization import denial

            why = denial(attributes, decision.reason)
            raise forbidden(attributes.group, attributes.resource, attributes.name, why)


def _user_attributes(user: UserInfo, name: str) -> Attributes:
    if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        return Attributes(user, "impersonate", resource="serviceaccounts", namespace=namespace, name=account)
    return Attributes(user, "impersonate", resource="users", name=name)


def _with_implied(name: str, groups: list[str]) -> tuple[str, ...]:
    """Service accounts bring their groups when none are named; everybody is authenticated or is not."""
    if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3 and not groups:
        namespace = name.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    implied = UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED
    return tuple(groups) if implied in groups else (*groups, implied)


def _extra(request: Request) -> dict[str, tuple[str, ...]]:
    prefix = _PREFIX + "extra-"
    return {
        unquote(name.removeprefix(prefix)).lower(): tuple(value.split("\n"))
        for name, value in request.headers.items()
        if name.startswith(prefix)
    }
