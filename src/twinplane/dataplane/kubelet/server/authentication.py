"""Who asks: a client certificate of the cluster's authority, or a bearer token that the API server knows.

Anonymous requests are refused, as on EKS (`authentication.anonymous.enabled: false`). Answers of TokenReview are kept
for `authentication.webhook.cacheTTL`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from twinplane.clock import Clock
from twinplane.kubeclient.contract import KubeClient, Resource
from twinplane.kubeclient.errors import ApiError

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
AUTHENTICATED = "system:authenticated"
TOKEN_SECONDS = 120.0
ENTRIES_MAX = 1024

Answer = TypeVar("Answer")


class User(NamedTuple):
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Kept(Generic[Answer]):
    """Answers by what was asked, each for a time of its own; the oldest make room."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[Any, tuple[float, Answer]] = OrderedDict()

    def get(self, key: Any) -> Answer | None:
        entry = self._entries.get(key)
        if entry is None or entry[0] <= self._clock.now():
            return None
        return entry[1]

    def put(self, key: Any, answer: Answer, seconds: float) -> None:
        self._entries[key] = (self._clock.now() + seconds, answer)
        self._entries.move_to_end(key)
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)


class Authentication:
    def __init__(self, client: KubeClient, clock: Clock, *, token_seconds: float = TOKEN_SECONDS) -> None:
        self._client = client
        self._seconds = token_seconds
        self._tokens: Kept[tuple[User | None]] = Kept(clock)

    async def user(self, certificate: Mapping[str, Any] | None, authorization: str) -> User | None:
        """`certificate` as `ssl.SSLObject.getpeercert` gives it, verified; `authorization` is the header's value."""
        found = certificate_user(certificate or {})
        if found is not None:
            return found
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        return await self._token_user(token.strip())

    async def _token_user(self, token: str) -> User | None:
        key = hashlib.sha256(token.encode()).digest()
        kept = self._tokens.get(key)
        if kept is not None:
            return kept[0]
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "metadata": {},
            "spec": {"token": token},
        }
        try:
            review = await self._client.create(TOKEN_REVIEWS, body)
        except (ApiError, OSError):
            # Upstream, too, refuses whom it cannot ask about.
            return None
        status = review.get("status") or {}
        user = _reviewed(status.get("user") or {}) if status.get("authenticated") else None
        self._tokens.put(key, (user,), self._seconds)
        return user


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """Common name and organizations, as upstream's x509 authenticator reads them."""
    fields = [field for part in certificate.get("subject", ()) for field in part]
    name = next((value for key, value in fields if key == "commonName"), "")
    if not name:
        return None
    groups = tuple(value for key, value in fields if key == "organizationName")
    return User(name, groups=(*groups, AUTHENTICATED))


def _reviewed(user: Mapping[str, Any]) -> User:
    groups = tuple(user.get("groups") or ())
    if AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    extra = tuple((key, tuple(values)) for key, values in sorted((user.get("extra") or {}).items()))
    return User(user.get("username", ""), user.get("uid", ""), groups, extra)
