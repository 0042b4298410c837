"""The HTTP server of the AWS endpoint: aiohttp's bare protocol, no router, no access log.

Bytes are kept as they came (raw path, raw query, header order), because the signature covers them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from twinplane.cloud.requests import AwsRequest, AwsResponse

BODY_BYTES_MAX = 512 * 1024 * 1024
"""Larger than any request of AWS's APIs but an S3 upload of one part, which may be more there."""

log = logging.getLogger(__name__)

_FAILURE = (
    "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>"
    "<Message>The request processing has failed because of an unknown error.</Message></Error></ErrorResponse>"
)

Answer = Callable[[AwsRequest], Awaitable[AwsResponse]]


class PortInUse(Exception):
    """The endpoint cannot listen; the message names address, port and reason."""


class Registry(Protocol):
    """Requests of the image registry, which come to the same port and are too large to be read whole."""

    def answers(self, request: web.BaseRequest) -> bool: ...

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse: ...


class EndpointServer:
    def __init__(self, answer: Answer, registry: Registry | None = None) -> None:
        self._answer = answer
        self._registry = registry
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises `PortInUse`."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortInUse(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._registry is not None and self._registry.answers(request):
            return await self._registry.answer(request)
        body = await _body(request)
        if body is None:
            return web.Response(status=413)
        path, _, query = request.raw_path.partition("?")
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        try:
            answer = await self._answer(AwsRequest(request.method, path, query, headers, body))
        except Exception:
            log.exception("%s %s failed", request.method, path)
            return web.Response(status=500, text=_FAILURE, content_type="text/xml")
        response = web.Response(status=answer.status, body=answer.body)
        for name, value in answer.headers:
            # The length of an answer to HEAD is that of the body it does not have.
            if name.lower() != "content-length" or request.method == "HEAD":
                response.headers[name] = value
        return response


async def _body(request: web.BaseRequest) -> bytes | None:
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return None
        chunks.append(chunk)
    return b"".join(chunks)
