"""The region's registry at the address where nodes look for it, inside the network namespace of a test's machine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from tests.nodes.namespaces import Namespaces
from twinplane.clock import SystemClock
from twinplane.cloud.registry.service import ImageRegistry

T = TypeVar("T")
ADDRESS = "169.254.169.252"
SECRET = b"secret of the test's region"


class NoRepositories:
    """An account in which nothing is in ECR."""

    async def run(self, work: Callable[[], T], *, changes: str = "") -> T:
        del changes
        return work()

    def subscribe(self, listener: Callable[[str], None]) -> None:
        del listener


def registry(images: Path) -> ImageRegistry:
    account = NoRepositories()
    return ImageRegistry(images, account, "123456789012", "us-west-2", secret=SECRET, clock=SystemClock())


@asynccontextmanager
async def registry_in(spaces: Namespaces, name: str, images: Path) -> AsyncIterator[None]:
    spaces.ip(name, "link set lo up")
    spaces.ip(name, f"addr add {ADDRESS}/32 dev lo")
    runner = web.ServerRunner(web.Server(registry(images).answer, access_log=None))
    await runner.setup()
    await web.SockSite(runner, _listening(spaces.path(name))).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _listening(namespace: str) -> socket.socket:
    """A socket stays in the namespace in which it was made."""
    made: list[socket.socket] = []

    def make() -> None:
        import ctypes

        descriptor = os.open(namespace, os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.setns(descriptor, 0x40000000) == 0
        os.close(descriptor)
        made.append(socket.create_server((ADDRESS, 80)))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]
