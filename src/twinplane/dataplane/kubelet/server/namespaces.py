"""Connections made inside another network namespace.

A socket belongs for good to the namespace that its thread was in when it was made. So a thread of its own enters the
pod's namespace, makes the socket and ends; connecting and using it is the event loop's, like any other.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading

from twinplane.dataplane.streaming.contract import Duplex

CLONE_NEWNET = 0x40000000
CONNECT_SECONDS = 10.0
_FAMILIES = ((socket.AF_INET, "IPv4", "tcp4", "127.0.0.1"), (socket.AF_INET6, "IPv6", "tcp6", "[::1]"))


async def connect(namespace: str, port: int) -> Duplex:
    """To `port` on localhost of a network namespace (path of its file; empty for our own).

    Raises OSError with what was tried, in the words of the CRI's port-forward.
    """
    tried = []
    for family, name, network, host in _FAMILIES:
        try:
            near = _made(namespace, family) if namespace else socket.socket(family)
        except OSError as error:
            tried.append(f"{name} {error.strerror or error}")
            continue
        near.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(near, (host.strip("[]"), port))
            return Duplex(*await asyncio.open_connection(sock=near))
        except OSError as error:
            near.close()
            what = os.strerror(error.errno).lower() if error.errno else "i/o timeout"
            tried.append(f"{name}: dial {network} {host}:{port}: connect: {what}")
        except BaseException:
            near.close()
            raise
    where = f'"{namespace}"' if namespace else ""
    raise ConnectionRefusedError(
        f"failed to execute portforward in network namespace {where}: failed to connect to localhost:{port} inside "
        f"namespace {where}, {' '.join(tried)}"
    )


def _made(namespace: str, family: socket.AddressFamily) -> socket.socket:
    """Takes a tenth of a millisecond, so the event loop waits for it."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
                made.append(socket.socket(family))
            finally:
                os.close(descriptor)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=make, name="in a pod's network")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
