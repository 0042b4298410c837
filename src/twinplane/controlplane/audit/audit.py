"""Auditing: goes around a request that the policy wants kept and writes an event at each stage.

`ApiServer` calls `around` when there is an audit at all; without one a request costs one comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from uuid import UUID

import orjson

from twinplane.clock import Clock
from twinplane.controlplane.api.contract import Request, Response, Tunnel
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.audit.event import Record
from twinplane.controlplane.audit.policy import Decision, Policy
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.store.contract import StoreError
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError

Serve = Callable[[Request, Route, UserInfo, dict[str, str]], Awaitable[Response]]
"""The rest of the way; annotations are put into the last argument."""
Write = Callable[[bytes], None]


class Audit:
    """`write` takes lines (`AuditLog.write`); `random` makes audit ids."""

    def __init__(self, policy: Policy, write: Write, clock: Clock, random: Random) -> None:
        self._policy = policy
        self._write = write
        self._clock = clock
        self._random = random

    async def around(
        self, request: Request, route: Route, user: UserInfo, serve: Serve, *, impersonator: UserInfo | None = None
    ) -> Response:
        """`impersonator` is who the request authenticated as, where `user` is another. Raises what `serve` raises."""
        who = impersonator or user
        decision = self._policy.decide(who, route)
        if decision is None:
            return await serve(request, route, user, {})
        record = self._record(request, route, who, user if impersonator is not None else None, decision)
        self._emit(record, "RequestReceived")
        try:
            response = await serve(request, route, user, record.annotations)
        except ApiError as error:
            record.status, record.response = _status(error.status()), orjson.dumps(error.status())
            self._emit(record, "ResponseComplete")
            raise
        except StoreError as error:
            record.status = {"metadata": {}, "status": "Failure", "message": str(error), "code": 503}
            self._emit(record, "ResponseComplete")
            raise
        except Exception:
            record.status = {"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500}
            self._emit(record, "Panic")
            raise
        self._answered(record, response)
        return response

    def not_let_in(self, request: Request, route: Route, error: ApiError) -> None:
        """A request that could not be authenticated, or may not impersonate: nobody is named, as upstream does."""
        nobody = UserInfo("")
        decision = self._policy.decide(nobody, route)
        if decision is not None:
            record = self._record(request, route, nobody, None, decision)
            record.status = _status(error.status())
            self._emit(record, "ResponseStarted")

    def _record(
        self, request: Request, route: Route, user: UserInfo, impersonated: UserInfo | None, decision: Decision
    ) -> Record:
        given = request.headers.get("audit-id") or str(UUID(int=self._random.getrandbits(128), version=4))
        return Record(given, request, route, user, impersonated, decision, self._clock.now())

    def _answered(self, record: Record, response: Response) -> None:
        response.headers["audit-id"] = record.id
        record.status = {"metadata": {}, "code": response.status}
        if response.status >= 400:
            record.status = _status(orjson.loads(response.body))
        if response.stream is not None or response.tunnel is not None:
            self._emit(record, "ResponseStarted")
            ended = _Once(lambda: self._emit(record, "ResponseComplete"))
            if response.stream is not None:
                response.stream = _Followed(response.stream, ended)
            if response.tunnel is not None:
                response.tunnel = _FollowedTunnel(response.tunnel, ended)
            return
        if response.content_type == "application/json":
            record.response = response.whole()
        self._emit(record, "ResponseComplete")

    def _emit(self, record: Record, stage: str) -> None:
        if stage not in record.decision.omitted_stages:
            self._write(record.line(stage, self._clock.now()))


def _status(status: Object) -> Object:
    """As events carry it: without kind, and without the details."""
    fields = ("metadata", "status", "message", "reason", "code")
    return {key: status[key] for key in fields if key in status}


class _Once:
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def __call__(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()


class _Followed:
    """A stream whose end is told."""

    def __init__(self, stream: AsyncIterator[bytes], ended: _Once) -> None:
        self._stream = stream
        self._ended = ended

    def __aiter__(self) -> _Followed:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended()
            raise

    async def aclose(self) -> None:
        self._ended()
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


class _FollowedTunnel:
    """A tunnel whose end is told."""

    def __init__(self, tunnel: Tunnel, ended: _Once) -> None:
        self._ended = ended
        self._tunnel = tunnel
        self.write = tunnel.write
        self.pause = tunnel.pause
        self.resume = tunnel.resume

    async def join(self, client: asyncio.Transport) -> None:
        try:
            await self._tunnel.join(client)
        finally:
            self._ended()

    def close(self) -> None:
        self._ended()
        self._tunnel.close()
