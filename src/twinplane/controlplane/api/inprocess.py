"""`KubeClient` without sockets: the same requests, handed straight to the server. For what runs in its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import nullcontext
from typing import Any

import orjson

from twinplane.controlplane.api.contract import Handler, Request, Response
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object, Resource, WatchEvent
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.requests import Query, RequestClient, decoded


class InProcessClient(RequestClient):
    """Acts as `user`, who passes authorization and admission like everybody else. `agent` names the field manager."""

    def __init__(
        self, server: Handler, user: UserInfo, agent: str = "twinplane", *, in_flight_max: int | None = None
    ) -> None:
        """At most `in_flight_max` requests at once: a controller that creates hundreds of objects must not keep
        everybody else waiting until the last one is done.
        """
        self._in_flight = asyncio.Semaphore(in_flight_max) if in_flight_max is not None else nullcontext()
        self._server = server
        self._user = user
        self._agent = agent

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        wants_answer: bool = True,
    ) -> Object:
        async with self._in_flight:
            response = await self._answer(method, path, query or {}, body, content_type)
        if not wants_answer:
            return {}
        found: Object = orjson.loads(response.whole())
        return found

    async def create_named(self, resource: Resource, body: Object, namespace: str | None = None) -> str:
        """Without reading the whole answer, where the server says the name apart."""
        async with self._in_flight:
            response = await self._answer("POST", resource.path(namespace), {}, body)
        return response.name or name_of(orjson.loads(response.whole()))

    async def _stream(self, path: str, query: Query) -> AsyncGenerator[bytes, None]:
        stream = (await self._answer("GET", path, query)).stream
        assert stream is not None
        try:
            async for piece in stream:
                for line in piece.splitlines():
                    yield line
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _events(self, path: str, query: Query) -> AsyncGenerator[WatchEvent, None]:
        """Without the detour over bytes, where the server has the objects."""
        stream: AsyncIterator[Any] | None = (await self._answer("GET", path, query, shares=True)).stream
        assert stream is not None
        try:
            async for piece in stream:
                for event in piece if isinstance(piece, list) else piece.splitlines():
                    yield decoded(event) if isinstance(event, bytes) else event
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any = None,
        content_type: str = "application/json",
        *,
        shares: bool = False,
    ) -> Response:
        given = {name: value for name, value in query.items() if value}
        if body is not None:
            # Upstream's components send protobuf, which has no unknown fields to look for and to warn of.
            given["fieldValidation"] = "Ignore"
        request = Request(
            method,
            path,
            given,
            {"user-agent": self._agent, "content-type": content_type},
            b"" if body is None else orjson.dumps(body),
            user=self._user,
            shares=shares,
            queries={name: [value] for name, value in given.items()},
        )
        response = await self._server.handle(request)
        if response.status >= 400:
            raise ApiError.from_status(orjson.loads(response.body), response.status)
        return response
