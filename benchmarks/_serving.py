"""The server process of `benchmarks.api_server`: what `composition.api_server` makes, on a store in a file, over TLS.

Admission chain, RBAC, fairness and bootstrap objects are those of a real cluster; controllers and scheduler do not run,
as beside a kube-apiserver that is measured alone. Commands come on stdin, one a line, and are answered by one line.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path

import orjson
from tests.unit.api.tls import server_context

from benchmarks._control_plane import control_plane
from benchmarks._target import PODS_OF_NODES
from twinplane.controlplane.api import heap
from twinplane.controlplane.api.encoding import dump, to_store
from twinplane.controlplane.api.http.server import serve
from twinplane.controlplane.api.objects.keys import prefix_of
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.auth.contract import AUTHENTICATED, MASTERS, UserInfo
from twinplane.controlplane.auth.static_token import StaticTokenAuthenticator
from twinplane.kubeclient.resources import PODS

LIFETIME_SECONDS = 1200
WRITERS = 64


async def serve_until_stopped(directory: Path, token: str) -> None:
    """Prints `port N` when it listens; ends with SIGTERM or when its stdin does, and by itself in the end."""
    masters = StaticTokenAuthenticator({token: UserInfo("benchmark", (MASTERS, AUTHENTICATED))})
    async with control_plane(directory, [masters]) as handler:
        server = await serve(handler, "127.0.0.1", 0, server_context(directory))
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        heap.settle()
        print(f"port {server.port}", flush=True)
        commands = asyncio.create_task(_obey(handler, stopped))
        try:
            async with asyncio.timeout(LIFETIME_SECONDS):
                await stopped.wait()
        finally:
            commands.cancel()
            await server.close(0.1)


async def _obey(handler: ApiServer, stopped: asyncio.Event) -> None:
    """`fill FILE BEGIN END`: copies of the pod in FILE, numbered, straight into the store."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while words := (await lines.readline()).split():
        await _fill(handler, Path(words[1].decode()), int(words[2]), int(words[3]))
        gc.collect()
        print("filled", flush=True)
    stopped.set()


async def _fill(handler: ApiServer, template: Path, begin: int, end: int) -> None:
    """As the API would have stored them; what is left out is admission, so that a million takes a minute."""
    value = dump(to_store(orjson.loads(await asyncio.to_thread(template.read_bytes)), PODS))
    prefix = prefix_of(PODS)
    store, cache = handler.runtime.store, handler.runtime.cache
    numbers = iter(range(begin, end))

    async def writer() -> None:
        for number in numbers:
            body = value.replace(b"@number", b"%d" % number).replace(b"@hundred", b"%d" % (number // 100))
            body = body.replace(b"@node", b"%d" % (number % PODS_OF_NODES))
            await store.create(f"{prefix}filled/pod-{number}", body)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(writer())
    await cache.applied(store.revision)
