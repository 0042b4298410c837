"""The server process of `benchmarks.api_server`: embedded store on disk, TLS, one token, no admission plugins."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from random import Random

from tests.unit.api.tls import server_context

from twinplane.clock import SystemClock
from twinplane.controlplane.api import heap
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.http.server import serve
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.runtime import ServerRuntime
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.auth.authorization import UnionAuthorizer
from twinplane.controlplane.auth.contract import MASTERS, UserInfo
from twinplane.controlplane.auth.static_token import StaticTokenAuthenticator
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.kubeclient.contract import Object


class _NoKubelet:
    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        raise RuntimeError("the benchmark has no nodes")

    async def connect(self, node: Object) -> Upstream:
        raise OSError("the benchmark has no nodes")

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        raise OSError("the benchmark has no nodes")


async def _review(review: Object) -> Object:
    return review


async def serve_until_stopped(directory: Path, token: str) -> None:
    """Prints `port N` when it listens; ends with SIGTERM, or by itself after five minutes."""
    clock = SystemClock()
    store = await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=clock)
    registry = built_in_types("1.36")
    rules = UpstreamRules(registry)
    cache = ObjectCache(store, registry, rules)
    await cache.start()
    runtime = ServerRuntime(
        store=store,
        cache=cache,
        registry=registry,
        rules=rules,
        authenticator=StaticTokenAuthenticator({token: UserInfo("benchmark", (MASTERS,))}),
        authorizer=UnionAuthorizer(()),
        admission=(),
        clock=clock,
        random=Random(),
        version={"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        create_token=lambda namespace, name, body: body,
        review_token=_review,
        rules_for=lambda user, namespace: [],
        kubelet=_NoKubelet(),
    )
    server = await serve(ApiServer(runtime), "127.0.0.1", 0, server_context(directory))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    heap.settle()
    print(f"port {server.port}", flush=True)
    try:
        async with asyncio.timeout(300):
            await stopped.wait()
    finally:
        await server.close(0.1)
        await cache.close()
        await store.close()
