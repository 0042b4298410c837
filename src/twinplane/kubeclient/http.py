"""A `KubeClient` over HTTP: any API server, ours or upstream's.

Used wherever the API server is in another process. One pool of connections, a bound on requests in flight (watches do
not count: they are as many as their owners hold), errors as `ApiError`, and `ConnectionError` when there was no answer.
Repeating and reconnecting is left to the caller, which knows whether a request may be repeated.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.requests import Query, RequestClient
from twinplane.kubeclient.wire import Wire

TokenSource = Callable[[], Awaitable[str]]
"""Gives a bearer token that is valid now; caching is its own business."""

IN_FLIGHT_MAX = 64
REQUEST_SECONDS = 60.0
RETRIES_MAX = 10
ERROR_TEXT_MAX = 1024
LENGTH_ZERO = "Content-Length: 0\r\n"
_PATH = "/:%!$&'()*+,;=@~"
"""Characters of a path that need no quoting, `%` among them: a name is quoted by who puts it there."""


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
        parts = urlsplit(url)
        is_plain = parts.scheme == "http"
        self._prefix = parts.path.rstrip("/")
        self._host = parts.hostname or ""
        self._port = parts.port or (80 if is_plain else 443)
        self._context = None if is_plain else ssl_context or ssl.create_default_context()
        self._server_name = server_name
        self._token_source = token_source
        # Compression costs more than it saves on loopback.
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if acting_as:
            headers["Impersonate-User"] = acting_as
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._wire: Wire | None = None

    async def __aenter__(self) -> HttpClient:
        self._wire = Wire(self._host, self._port, self._context, self._server_name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wire is not None:
            await self._wire.close()
            self._wire = None

    # -- the wire ------------------------------------------------------------------------------------------------

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
        """A server that is full says when to come back, and is asked again then, as client-go does."""
        for _ in range(RETRIES_MAX):
            try:
                return await self._attempt(method, path, query, body, content_type, wants_answer=wants_answer)
            except ApiError as error:
                if error.code != 429 or error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
        return await self._attempt(method, path, query, body, content_type, wants_answer=wants_answer)

    async def _attempt(
        self, method: str, path: str, query: Query | None, body: Any, content_type: str, *, wants_answer: bool
    ) -> Object:
        wire = self._opened()
        message = await self._message(method, path, query, body, content_type)
        async with self._in_flight:
            try:
                status, answer = await wire.exchange(message, REQUEST_SECONDS, repeats=method == "GET")
            except ConnectionError as error:
                raise ConnectionError(f"{method} {path}: {error}") from error
        if status >= 400:
            raise _refusal(status, answer)
        if not wants_answer:
            return {}
        try:
            found: Object = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise ConnectionError(f"{method} {path}: the answer is not JSON: {error}") from None
        return found

    async def _stream(self, path: str, query: Query) -> AsyncGenerator[bytes, None]:
        wire = self._opened()
        message = await self._message("GET", path, query)
        try:
            connection = await wire.open()
            try:
                status = await connection.begin(message)
                if status >= 400:
                    raise _refusal(status, await connection.rest())
                async for line in _lines(connection.pieces()):
                    yield line
            finally:
                connection.abort()
        except ConnectionError as error:
            raise ConnectionError(f"GET {path}: {error}") from error

    def _opened(self) -> Wire:
        if self._wire is None:
            raise RuntimeError("HttpClient is used outside its `async with`")
        return self._wire

    async def _message(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The whole request."""
        target = quote(self._prefix + path, safe=_PATH)
        given = {key: value for key, value in (query or {}).items() if value}
        if given:
            target = f"{target}?{urlencode(given)}"
        head = f"{method} {target} HTTP/1.1\r\n{self._headers}"
        if self._token_source is not None:
            head += f"Authorization: Bearer {await self._token_source()}\r\n"
        if body is None:
            # Requests that may have a body say so when they have none.
            return f"{head}{'' if method == 'GET' else LENGTH_ZERO}\r\n".encode()
        content = orjson.dumps(body)
        return f"{head}Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def _refusal(code: int, body: bytes) -> ApiError:
    """A proxy in between may answer with anything; then the text is the message."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:ERROR_TEXT_MAX].decode(errors="replace").strip()}
    return ApiError.from_status(status, code)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest: list[bytes] = []
    async for piece in pieces:
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest.append(line)
            joined = b"".join(rest)
            rest.clear()
            if joined.strip():
                yield joined
        if last:
            rest.append(last)
