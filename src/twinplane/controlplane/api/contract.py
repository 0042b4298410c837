"""A request and its answer inside the API server, apart from how they travelled.

`api.http` builds these from sockets, `api.inprocess` from method calls; verbs know nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from twinplane.controlplane.auth.contract import Credentials, UserInfo


@dataclass(slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    """Last value of each parameter; `queries` keeps repeated ones (exec's `command`)."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes = b""
    credentials: Credentials = field(default_factory=Credentials)
    user: UserInfo | None = None
    """Set by in-process callers, which are already known; otherwise by authentication."""
    queries: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Response:
    """`body` is sent whole, or `stream` piece by piece (watch, logs) until it ends or the client goes."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


class Handler(Protocol):
    async def handle(self, request: Request) -> Response:
        """Never raises for a bad request: errors are already Status answers."""
        ...
