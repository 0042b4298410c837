"""Who is asking, and may they: the two questions that the API server puts before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"


@dataclass(frozen=True, slots=True)
class UserInfo:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", (UNAUTHENTICATED,))


class Credentials(NamedTuple):
    """What a connection or request brought: a bearer token, a verified client certificate (DER), or nothing."""

    token: str = ""
    certificate: bytes = b""


class Authenticator(Protocol):
    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        """The user, None when these credentials are not of this authenticator's kind.

        Raises `ApiError` Unauthorized when they are of its kind and bad. `system:authenticated` is among the groups.
        """
        ...


class Attributes(NamedTuple):
    """authorizer.Attributes. `path` is set for non-resource requests (/healthz), else the resource fields are."""

    user: UserInfo
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    """As written; of lists, watches and deletecollections."""


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    """Synchronous: it is asked on every request and answers from memory."""

    def authorize(self, attributes: Attributes) -> Decision: ...
