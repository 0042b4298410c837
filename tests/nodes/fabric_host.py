"""A whole host for the fabric's tests: a namespace that stands for it, a fabric in it, and sockets in any namespace."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.unit.fabric.account import Account
from twinplane.cloud.network.contract import instance_namespace, region_id
from twinplane.cloud.network.fabric import namespaces
from twinplane.cloud.network.fabric.contract import Interface, Services
from twinplane.cloud.network.fabric.loop import Fabric

T = TypeVar("T")
SECONDS = 60.0
"""What is allowed comes within these, however busy the machine is."""
SHORT = 0.4
"""Seconds of silence that are taken for a refusal: a connection that is allowed is long open then."""


class Host:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        data_dir.mkdir()
        self.account = Account()
        self.services = Services()
        self.namespace = f"tptest-{region_id(data_dir)}"
        self.machines: set[str] | None = None
        self.fabric = self.new_fabric()
        self._daemon: asyncio.Task[None] | None = None
        self._listening: list[socket.socket] = []

    def new_fabric(self) -> Fabric:
        return Fabric(
            self.data_dir,
            self.account,
            self.account.read,
            lambda: self.account.machines() if self.machines is None else self.machines,
            lambda: self.services,
            run_dir=self.data_dir.parent / "run",
            host_namespace=self.namespace,
        )

    def start(self) -> None:
        self._daemon = asyncio.create_task(self.fabric.run())

    async def kill(self) -> None:
        """The fabric's loop ends and leaves everything as it is."""
        if self._daemon is not None:
            self._daemon.cancel()
            await asyncio.wait([self._daemon])

    async def restart(self) -> None:
        """Another daemon, which knows nothing of what the first one did."""
        await self.kill()
        self.fabric = self.new_fabric()
        self.start()

    def name(self, where: Interface | None) -> str:
        return self.namespace if where is None else instance_namespace(self.data_dir, where.instance_id)

    def listen(
        self, where: Interface | None, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM
    ) -> None:
        """Answers with the address that a connection (or packet) came from."""
        self.listen_in(self.name(where), port, address, kind)

    def listen_in(self, namespace: str, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM) -> None:

        def opened() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if kind == socket.SOCK_STREAM:
                made.listen(64)
            return made

        made = namespaces.inside(namespace, opened)
        self._listening.append(made)
        threading.Thread(target=_serve, args=(made,), daemon=True).start()

    def connect(
        self, where: Interface | None, address: str, port: int, *, source: str = "", timeout: float = SECONDS
    ) -> str | None:
        """What the listener saw; None when nothing answered in time."""
        try:
            with self.open(where, address, port, source=source, timeout=timeout) as made:
                return made.recv(100).decode()
        except OSError:
            return None

    def open(
        self, where: Interface | None, address: str, port: int, *, source: str = "", timeout: float = SECONDS
    ) -> socket.socket:
        def opened() -> socket.socket:
            made = socket.socket()
            try:
                made.settimeout(timeout)
                if source:
                    made.setsockopt(socket.IPPROTO_IP, 15, 1)
                    made.bind((source, 0))
                made.connect((address, port))
            except OSError:
                made.close()
                raise
            return made

        return namespaces.inside(self.name(where), opened)

    def ask(self, where: Interface | None, address: str, port: int, *, timeout: float = SECONDS) -> str | None:
        """The same over UDP."""

        def asked() -> str | None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.settimeout(timeout)
                try:
                    made.sendto(b"?", (address, port))
                    return made.recv(100).decode()
                except OSError:
                    return None

        return namespaces.inside(self.name(where), asked)

    def run(self, where: Interface | None, *arguments: str) -> str:
        return namespaces.inside(self.name(where), lambda: namespaces.run(list(arguments)))

    def close(self) -> None:
        for made in self._listening:
            # A thread that waits on a socket is not woken by its close.
            with suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
            made.close()


def _serve(listening: socket.socket) -> None:
    """Until it is closed."""
    while True:
        try:
            if listening.type == socket.SOCK_DGRAM:
                _, peer = listening.recvfrom(100)
                if peer is None:
                    return
                listening.sendto(f"{peer[0]}".encode(), peer)
            else:
                made, peer = listening.accept()
                threading.Thread(target=_echo, args=(made, peer[0]), daemon=True).start()
        except OSError:
            return


def _echo(made: socket.socket, greeting: str) -> None:
    """Until the client goes."""
    with made, suppress(OSError):
        content = greeting.encode()
        while content:
            made.sendall(content)
            content = made.recv(1000)


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Host]:
    host = Host(data_dir)
    namespaces.make(host.namespace)
    try:
        namespaces.inside(host.namespace, lambda: namespaces.batch(["link set lo up"]))
        host.start()
        try:
            yield host
        finally:
            await host.kill()
            await host.fabric.remove_everything()
            host.close()
    finally:
        namespaces.remove(host.namespace)


def left(host: Host) -> list[str]:
    """Namespaces of the region."""
    return sorted(name for name in os.listdir("/run/netns") if name.startswith(f"tp-{region_id(host.data_dir)}"))


async def eventually(check: Callable[[], T], timeout: float = SECONDS) -> T:
    """The first truth that `check` returns, in seconds."""
    end = asyncio.get_running_loop().time() + timeout
    while True:
        found = await asyncio.to_thread(check)
        if found or asyncio.get_running_loop().time() > end:
            return found
        await asyncio.sleep(0.01)
