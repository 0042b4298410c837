"""The socket of the metadata service, on loopback: the fabric brings 169.254.169.254 here with the sender's edge
address.

That address names VPC and instance (a pod's is one of its instance's), so nothing a client says is believed. The
TTL of the answer to PUT is the instance's hop limit and one for the VPC router: with a limit of 1 it does not reach
pods.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from aiohttp import web

from twinplane.cloud.contract import Instance
from twinplane.cloud.imds.metadata import Metadata, MetadataService

ROUTER_HOPS = 1
USUAL_TTL = 64

WhoAsks = Callable[[str], Instance | None]
"""The instance behind an edge address."""


class MetadataServer:
    def __init__(self, service: MetadataService, who_asks: WhoAsks) -> None:
        self._service = service
        self._who_asks = who_asks
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Raises OSError."""
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        instance = self._who_asks(request.remote or "")
        if instance is None:
            return web.Response(status=404)
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await self._service.answer(instance, request.method, request.path, headers)
        _limit_hops(request, answer)
        return web.Response(
            status=answer.status, text=answer.body, content_type=answer.content_type, headers=dict(answer.headers)
        )


def _limit_hops(request: web.BaseRequest, answer: Metadata) -> None:
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None:
        hops = USUAL_TTL if answer.hops is None else answer.hops + ROUTER_HOPS
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
