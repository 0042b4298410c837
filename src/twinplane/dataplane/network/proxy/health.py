"""What load balancers ask kube-proxy: is there an endpoint of this Service on this node, and is the proxy well.

Each Service with externalTrafficPolicy Local has a port of its own (`healthCheckNodePort`); the proxy's own health is
`/healthz` on port 10256. Answers as upstream's pkg/proxy/healthcheck. A request is one line and its headers, so this is
no framework.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from twinplane.clock import Clock, rfc3339

log = logging.getLogger(__name__)

HEALTHZ_PORT = 10256
REQUEST_SECONDS = 10.0
STALE_SECONDS = 120.0
_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


class Checked(NamedTuple):
    namespace: str
    name: str
    local_endpoints: int


class Response(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


Answer = Callable[[str], Response]
"""From the path."""


class HealthServers:
    """`update` with all health check node ports; `close` at the end."""

    def __init__(self, clock: Clock, healthz_port: int = HEALTHZ_PORT) -> None:
        self._clock = clock
        self._healthz_port = healthz_port
        self._servers: dict[int, asyncio.Server] = {}
        self._checked: Mapping[int, Checked] = {}
        self.synced_at = 0.0
        """When the rules were last known to be right; 0 before the first time."""
        self.behind_since = 0.0
        """Since when they are not; 0 while they are."""

    @property
    def healthy(self) -> bool:
        behind = self._clock.now() - self.behind_since if self.behind_since else 0.0
        return self.synced_at > 0 and behind < STALE_SECONDS

    async def update(self, checked: Mapping[int, Checked]) -> None:
        self._checked = checked
        wanted = {**dict.fromkeys(checked, self._service), self._healthz_port: None}
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        for port in wanted.keys() - self._servers.keys():
            answer: Answer = self._healthz if port == self._healthz_port else _at(port, self._service)
            try:
                self._servers[port] = await asyncio.start_server(_handler(answer), "0.0.0.0", port)
            except OSError as error:
                log.warning("health check port %d: %s", port, error)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _service(self, port: int) -> Response:
        found = self._checked.get(port)
        if found is None:
            return Response(404, b"", {})
        content = {
            "service": {"namespace": found.namespace, "name": found.name},
            "localEndpoints": found.local_endpoints,
            "serviceProxyHealthy": self.healthy,
        }
        status = 200 if found.local_endpoints and self.healthy else 503
        headers = {"X-Load-Balancing-Endpoint-Weight": str(found.local_endpoints)}
        return Response(status, orjson.dumps(content, option=orjson.OPT_INDENT_2), headers)

    def _healthz(self, path: str) -> Response:
        if path.partition("?")[0] not in ("/healthz", "/livez"):
            return Response(404, b"404 page not found\n", {})
        now = self._clock.now()
        content = {
            "lastUpdated": rfc3339(now if self.healthy else self.synced_at),
            "currentTime": rfc3339(now),
            "nodeEligible": True,
        }
        return Response(200 if self.healthy else 503, orjson.dumps(content), {})


def _at(port: int, answer: Callable[[int], Response]) -> Answer:
    return lambda _: answer(port)


def _handler(answer: Answer) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], asyncio.Future[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                line = head.split(b"\r\n", 1)[0].split(b" ")
                response = answer(line[1].decode(errors="replace") if len(line) == 3 else "")
                writer.write(_encoded(response))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("health check: %s", error)
        finally:
            writer.close()

    return serve  # type: ignore[return-value] # a coroutine function, as asyncio takes it


def _encoded(response: Response) -> bytes:
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + response.body
