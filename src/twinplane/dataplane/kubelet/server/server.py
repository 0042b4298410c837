"""The kubelet's HTTPS server: listening, who may do what, and the routes of all its parts.

The API server, metrics-server, Prometheus and whoever else has the right come here. Plain requests and WebSockets pass
the middleware, SPDY and raw connections `_admit`: both ask the same two questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import RunningPods
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.server.authentication import Authentication
from twinplane.dataplane.kubelet.server.authorization import Authorization, Forbidden
from twinplane.dataplane.kubelet.server.certificate import ServingCertificate
from twinplane.dataplane.kubelet.server.kubelet_configuration import kubelet_configuration
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.dataplane.runtime.contract import Runtime
from twinplane.dataplane.streaming.contract import StreamError, Streams
from twinplane.kubeclient.contract import KubeClient

if TYPE_CHECKING:
    from aiohttp import web

    from twinplane.dataplane.streaming.upgrades import UpgradeRequest

PORT = 10250
LONG_RUNNING = frozenset(("exec", "attach", "portForward", "debug"))
METRICS = frozenset(("metrics", "metrics/cadvisor", "metrics/probes", "metrics/resource", "metrics/slis"))
KNOWN_PATHS = (
    LONG_RUNNING | METRICS | {"healthz", "pods", "stats", "run", "containerLogs", "configz", "runningpods", "logs"}
)


class Routes(Protocol):
    """A part with endpoints of its own: `stats.routes.StatisticsRoutes`."""

    def routes(self) -> list[web.RouteDef]: ...


def always_well() -> str:
    return ""


class KubeletServer:
    def __init__(
        self,
        configuration: NodeConfiguration,
        pods: RunningPods,
        runtime: Runtime,
        streams: Streams,
        client: KubeClient,
        *,
        clock: Clock,
        metrics: KubeletMetrics,
        statistics: Routes | None = None,
        sync_loop: Callable[[], str] = always_well,
        certificate: ServingCertificate | None = None,
    ) -> None:
        """`sync_loop` says what is wrong with the pod loop, or nothing: the health check of that name."""
        self._configuration = configuration
        self._pods, self._runtime, self._streams = pods, runtime, streams
        self._clock, self._metrics = clock, metrics
        self._statistics = statistics
        self._authentication = Authentication(client, clock)
        self._authorization = Authorization(client, clock, configuration.name)
        self._checks = {"ping": always_well, "log": always_well, "syncloop": sync_loop}
        machine = configuration.machine
        addresses = (machine.private_dns_name, configuration.name, machine.private_ip, machine.host_address)
        names = tuple(dict.fromkeys(name for name in addresses if name))
        self._certificate = certificate or ServingCertificate(
            configuration.name, names, client=client, clock=clock, metrics=metrics
        )

    async def run(self, host: str = "0.0.0.0", port: int = PORT) -> None:
        """Serve until cancelled. Raises OSError when the port is taken."""
        context = await self._certificate.prepare(self._configuration.certificate_authority)
        async with self.listening() as protocol:
            server = await asyncio.get_running_loop().create_server(protocol, host, port, ssl=context)
            try:
                await self._certificate.run()
            finally:
                server.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Callable[[], asyncio.BaseProtocol]]:
        """What answers connections, for listeners of all kinds."""
        from aiohttp import web

        from twinplane.dataplane.kubelet.server.container_logs import ContainerLogs
        from twinplane.dataplane.kubelet.server.endpoints import Endpoints
        from twinplane.dataplane.streaming.server import accepting

        application = web.Application(middlewares=[self._middleware()])
        endpoints = Endpoints(
            self._pods, self._runtime, self._checks, lambda: kubelet_configuration(self._configuration)
        )
        application.add_routes(endpoints.routes())
        logs = ContainerLogs(self._pods, self._runtime, self._clock)
        application.add_routes([web.get("/containerLogs/{namespace}/{pod}/{container}", logs.serve)])
        if self._statistics is not None:
            application.add_routes(self._statistics.routes())
        async with accepting(application, self._streams, lambda _: True, self._admit) as protocol:
            yield protocol

    # -- who may do what -------------------------------------------------------------------------------------------

    async def _admit(self, request: UpgradeRequest, transport: asyncio.BaseTransport) -> None:
        path = "/" + "/".join(request.path)
        await self._check(transport, request.headers.get("authorization", ""), request.method, path)

    async def _check(self, transport: asyncio.BaseTransport | None, authorization: str, method: str, path: str) -> None:
        """Raises StreamError with 401, 403 or 500."""
        user = await self._authentication.user(_certificate(transport), authorization)
        if user is None:
            raise StreamError("Unauthorized", 401)
        try:
            await self._authorization.check(user, method, path)
        except Forbidden as error:
            raise StreamError(str(error), error.code) from error

    def _middleware(self) -> Any:
        from aiohttp import web

        @web.middleware
        async def admitted(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                authorization = request.headers.get("Authorization", "")
                await self._check(request.transport, authorization, request.method, request.path)
            except StreamError as error:
                return web.Response(status=error.code, text=f"{error}\n" if error.code == 403 else str(error))
            try:
                with self._counted(request.method, request.path):
                    return await handler(request)
            except web.HTTPNotFound:
                return web.Response(status=404, text="404 page not found\n")
            except web.HTTPMethodNotAllowed as error:
                return web.Response(
                    status=405, text="Method Not Allowed", headers={"Allow": ", ".join(sorted(error.allowed_methods))}
                )

        return admitted

    def _counted(self, method: str, path: str) -> _Counted:
        return _Counted(self._metrics, (*http_labels(method, path), "readwrite"))


class _Counted:
    """A context: one HTTP request in the kubelet's own metrics."""

    def __init__(self, metrics: KubeletMetrics, labels: tuple[str, ...]) -> None:
        self._metrics, self._labels = metrics, labels

    def __enter__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._metrics.http_requests.add(*self._labels)
        self._metrics.http_inflight.add(*self._labels)

    def __exit__(self, *_: object) -> None:
        self._metrics.http_inflight.add(*self._labels, amount=-1)
        self._metrics.http_seconds.observe(asyncio.get_running_loop().time() - self._began, *self._labels)


def http_labels(method: str, path: str) -> tuple[str, str, str]:
    """(long_running, method, path): paths by their first part, so that there are not too many."""
    parts = path.strip("/").split("/")
    root = "/".join(parts[:2]) if parts[0] == "metrics" and len(parts) > 1 else parts[0]
    return str(parts[0] in LONG_RUNNING).lower(), method, root if root in KNOWN_PATHS else "other"


def _certificate(transport: asyncio.BaseTransport | None) -> Mapping[str, Any] | None:
    """Verified by the handshake; None when the client gave none."""
    connection = transport.get_extra_info("ssl_object") if transport is not None else None
    return connection.getpeercert() if connection is not None else None
