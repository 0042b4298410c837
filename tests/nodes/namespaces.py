"""Network namespaces of a test's own, the wires between them, and talking from one to another.

Names carry the process id, so that several test runs do not meet; all go with the context, whatever happened in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from twinplane.dataplane.network import netlink

T = TypeVar("T")
SECONDS = 60.0
"""What comes at all comes within these; who waits for silence says for how long."""
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def missing() -> str:
    """What this host lacks; empty when it can do all."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if lacking:
        return f"needs {', '.join(lacking)}"
    made = subprocess.run(["ip", "netns", "add", f"t{os.getpid()}-probe"], capture_output=True, check=False)
    if made.returncode:
        return "needs network namespaces"
    subprocess.run(["ip", "netns", "del", f"t{os.getpid()}-probe"], check=True)
    return ""


class Namespaces:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def add(self, name: str) -> str:
        """Its real name."""
        real = self.names[name] = f"t{os.getpid()}-{name}"
        subprocess.run(["ip", "netns", "add", real], check=True)
        self.ip(name, "link set lo up")
        return real

    def delete(self, name: str) -> None:
        subprocess.run(["ip", "netns", "del", self.names.pop(name)], check=False)

    def path(self, name: str) -> str:
        return f"/run/netns/{self.names[name]}"

    def ip(self, name: str, command: str) -> str:
        arguments = ["ip", "-n", self.names[name], *command.split()]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    def run(self, name: str, *command: str) -> str:
        arguments = ["ip", "netns", "exec", self.names[name], *command]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    def forwards(self, name: str) -> None:
        with self.inside(name):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def wire(self, one: str, one_device: str, other: str, other_device: str, mac: str = "") -> None:
        """A veth pair; `mac` is that of the second."""
        command = f"link add {one_device} type veth peer name {other_device} netns {self.names[other]}"
        self.ip(one, command + (f" address {mac}" if mac else ""))
        self.ip(one, f"link set {one_device} up")
        self.ip(other, f"link set {other_device} up")

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """The calling thread, and what it starts."""
        descriptor = os.open(self.path(name), os.O_RDONLY)
        try:
            with netlink.inside(descriptor):
                yield
        finally:
            os.close(descriptor)

    def call(self, name: str, function: Callable[[], T]) -> T:
        with self.inside(name):
            return function()


@contextlib.contextmanager
def namespaces() -> Iterator[Namespaces]:
    made = Namespaces()
    try:
        yield made
    finally:
        for name in list(made.names):
            made.delete(name)


class Echo:
    """A TCP or UDP server in a namespace: it answers with its name and who it is that asks (`name 10.0.0.7`)."""

    def __init__(self, where: Namespaces, namespace: str, port: int, kind: str = "tcp", name: str = "") -> None:
        self._name = name or namespace
        with where.inside(namespace):
            self._socket = socket.socket(socket.AF_INET, TYPES[kind])
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("0.0.0.0", port))
        self._stopped = False
        if kind == "tcp":
            self._socket.listen(64)
        self._thread = threading.Thread(target=self._tcp if kind == "tcp" else self._udp, daemon=True)
        self._thread.start()

    def _tcp(self) -> None:
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            if self._stopped:
                connection.close()
                return
            # Who asked may have given up by now.
            with connection, contextlib.suppress(OSError):
                connection.sendall(f"{self._name} {peer[0]}".encode())

    def _udp(self) -> None:
        while True:
            try:
                _, peer = self._socket.recvfrom(2048)
            except OSError:
                return
            if self._stopped:
                return
            with contextlib.suppress(OSError):
                self._socket.sendto(f"{self._name} {peer[0]}".encode(), peer)

    def close(self) -> None:
        self._stopped = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._socket.close()


def ask(
    address: str, port: int, kind: str = "tcp", source: tuple[str, int] | None = None, seconds: float = SECONDS
) -> str:
    """From the calling thread's namespace: the answer of an `Echo`, or the name of the failure."""
    with socket.socket(socket.AF_INET, TYPES[kind]) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.settimeout(seconds)
        if source is not None:
            asking.bind(source)
        try:
            asking.connect((address, port))
            if kind != "tcp":
                asking.send(b"?")
            return asking.recv(2048).decode()
        except OSError as error:
            return type(error).__name__
