"""A `KubeClient` over HTTP: any API server, ours or upstream's.

Used wherever the API server is in another process. One connection pool, a bound on requests in flight (watches do not
count: they are as many as their owners hold), errors as `ApiError`, and `ConnectionError` when there was no answer.
Repeating and reconnecting is left to the caller, which knows whether a request may be repeated. aiohttp is imported on
entry: it costs a tenth of a second that processes with an in-process client do not have to pay.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.requests import Query, RequestClient

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

TokenSource = Callable[[], Awaitable[str]]
"""Gives a bearer token that is valid now; caching is its own business."""

IN_FLIGHT_MAX = 64
REQUEST_SECONDS = 60.0
RETRIES_MAX = 10
ERROR_TEXT_MAX = 1024


class HttpClient(RequestClient):
    """`async with HttpClient(url, ssl_context, token_source) as client`.

    A client certificate travels in `ssl_context` (`load_cert_chain`); `url` may carry a path prefix. The server's
    certificate is checked for `server_name` where that is not the URL's host. With `acting_as` all is asked in that
    user's name (impersonation).
    """

    def __init__(
        self,
        url: str,
        ssl_context: ssl.SSLContext | None = None,
        token_source: TokenSource | None = None,
        *,
        user_agent: str = "twinplane",
        in_flight_max: int = IN_FLIGHT_MAX,
        server_name: str | None = None,
        acting_as: str = "",
    ) -> None:
        self._url = url.rstrip("/")
        self._server_name = server_name
        self._ssl = ssl_context
        self._token_source = token_source
        self._user_agent = user_agent
        self._acting_as = acting_as
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._open: ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl if self._ssl is not None else True)
        # Compression costs more than it saves on loopback.
        headers = {"User-Agent": self._user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._acting_as:
            headers["Impersonate-User"] = self._acting_as
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        self._open = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    # -- the wire ------------------------------------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        """A server that is full says when to come back, and is asked again then, as client-go does."""
        for _ in range(RETRIES_MAX):
            try:
                return await self._attempt(method, path, query, body=body, content_type=content_type)
            except ApiError as error:
                if error.code != 429 or error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
        return await self._attempt(method, path, query, body=body, content_type=content_type)

    async def _attempt(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        try:
            async with (
                self._in_flight,
                asyncio.timeout(REQUEST_SECONDS),
                self._answer(method, path, query, body, content_type) as response,
            ):
                answer: Object = orjson.loads(await response.read())
        except orjson.JSONDecodeError as error:
            raise ConnectionError(f"{method} {path}: the answer is not JSON: {error}") from None
        return answer

    async def _stream(self, path: str, query: Query) -> AsyncGenerator[bytes, None]:
        async with self._answer("GET", path, query) as response:
            async for line in _lines(response):
                yield line

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> AsyncGenerator[ClientResponse, None]:
        import aiohttp

        if self._open is None:
            raise RuntimeError("HttpClient is used outside its `async with`")
        headers = {}
        if self._token_source is not None:
            headers["Authorization"] = f"Bearer {await self._token_source()}"
        if body is not None:
            headers["Content-Type"] = content_type
        data = orjson.dumps(body) if body is not None else None
        params = {key: value for key, value in (query or {}).items() if value}
        try:
            async with self._open.request(
                method,
                self._url + path,
                params=params,
                data=data,
                headers=headers,
                server_hostname=self._server_name,
            ) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                yield response
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error


def _refusal(code: int, body: bytes) -> ApiError:
    """A proxy in between may answer with anything; then the text is the message."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:ERROR_TEXT_MAX].decode(errors="replace").strip()}
    return ApiError.from_status(status, code)


async def _lines(response: ClientResponse) -> AsyncIterator[bytes]:
    """Objects may be far longer than the line limit of aiohttp's own reader."""
    rest: list[bytes] = []
    async for chunk in response.content.iter_any():
        *whole, last = chunk.split(b"\n")
        for line in whole:
            rest.append(line)
            joined = b"".join(rest)
            rest.clear()
            if joined.strip():
                yield joined
        if last:
            rest.append(last)
