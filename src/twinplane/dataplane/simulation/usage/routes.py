"""The kubelet's metrics endpoints, of all nodes of the process.

One server stands for every kubelet, so the node is named in the path: `/nodes/NAME/metrics/resource`. The API server
names it in the header by which its proxy tells where a request was sent to. In a process with a single node it may be
left out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twinplane.clock import Clock
from twinplane.dataplane.exposition import CONTENT_TYPE
from twinplane.dataplane.simulation.nodes import NodeFleet
from twinplane.dataplane.simulation.usage.consumption import Consumption, NodeUsage
from twinplane.dataplane.simulation.usage.exposition import (
    cadvisor_metrics,
    resource_metrics,
    summary,
)

if TYPE_CHECKING:
    from aiohttp import web

PREFIX = "/nodes/{node}"
FORWARDED = "X-Forwarded-Uri"
_PROXIED = re.compile(r"/api/v1/nodes/([^/]+)/proxy/")


def asked_node(request: web.Request) -> str:
    """The node that a request names; empty when it names none."""
    proxied = _PROXIED.match(request.headers.get(FORWARDED, ""))
    return request.match_info.get("node") or (proxied[1] if proxied else "")


class UsageRoutes:
    def __init__(self, nodes: NodeFleet, consumption: Consumption, clock: Clock) -> None:
        self._nodes = nodes
        self._consumption = consumption
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        def text(format: Callable[[NodeUsage, float], str]) -> Callable[[NodeUsage, float], web.Response]:
            return lambda found, now: web.Response(
                body=format(found, now).encode(), headers={"Content-Type": CONTENT_TYPE}
            )

        answers = {
            "/metrics/resource": text(resource_metrics),
            "/metrics/cadvisor": text(cadvisor_metrics),
            "/stats/summary": lambda found, now: web.json_response(summary(found, now)),
        }
        return [
            web.get(prefix + path, self._answering(answer))
            for path, answer in answers.items()
            for prefix in ("", PREFIX)
        ]

    def _answering(
        self, answer: Callable[[NodeUsage, float], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            from aiohttp import web

            name = asked_node(request) or self._nodes.only_name
            node = self._nodes.get(name) if name else None
            if node is None:
                text = f'node "{name}" not found' if name else "name the node: /nodes/NAME" + request.path
                return web.Response(status=404, text=text)
            if node.silent:
                return web.Response(status=503, text=f'node "{name}" is lost')
            now = self._clock.now()
            return answer(self._consumption.of_node(node, now), now)

        return handle
