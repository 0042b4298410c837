"""A request and its answer inside the API server, apart from how they travelled.

`api.http` builds these from sockets, `api.inprocess` from method calls; verbs know nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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
    query_text: str = ""
    """The query as it was written, for those who pass a request on."""
    shares: bool = False
    """The caller is in this process and does not change what it is shown: a watch gives it objects (see `Watcher`)."""
    source: str = ""
    """The address that the connection came from; empty for in-process callers."""


class Tunnel(Protocol):
    """The far end of a connection that has left HTTP behind; nothing is buffered beyond the two transports."""

    async def join(self, client: asyncio.Transport) -> None:
        """Pass to `client` what comes from the far end, until that end closes. Slow clients slow it down."""
        ...

    def write(self, data: bytes) -> None:
        """From the client, which is no longer read from while the far end is slow."""
        ...

    def pause(self) -> None:
        """The client does not take any more for now."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None:
        """Idempotent."""
        ...


@dataclass(slots=True)
class Response:
    """`body` is sent whole, or `stream` piece by piece (watch, logs) until it ends or the client goes.

    A long answer that is there already comes in `pieces` instead of `body`: joining and encrypting it in one go would
    keep its reader, and everybody else, waiting for all of it.
    With `tunnel` the status is 101, `headers` say what was agreed on, and the connection is the tunnel's from then on.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    tunnel: Tunnel | None = None
    pieces: Sequence[bytes] = ()
    name: str = ""
    """Of the object that was created, for readers in this process that need no more; empty where it is not known."""

    def whole(self) -> bytes:
        """The body, joined when it is in pieces."""
        return b"".join(self.pieces) if self.pieces else self.body


class Handler(Protocol):
    async def handle(self, request: Request) -> Response:
        """Never raises for a bad request: errors are already Status answers."""
        ...
