"""What a kubelet must be able to do for streams, and what it is given for it.

Implemented by simulated kubelets and by real ones; the protocols in this package are written against it.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol


class StreamError(Exception):
    """Refused or failed, with the text that the client is shown; `code` is the HTTP status before an upgrade."""

    def __init__(self, message: str, code: int = 500) -> None:
        super().__init__(message)
        self.code = code


class ContainerRef(NamedTuple):
    namespace: str
    pod: str
    container: str


class Size(NamedTuple):
    """Of a terminal, in characters."""

    width: int
    height: int


class Duplex(NamedTuple):
    """A connection to a port. Whoever gets it closes the writer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class ContainerIO(Protocol):
    """The client's end of a command's standard streams."""

    @property
    def tty(self) -> bool: ...

    @property
    def stdin(self) -> bool:
        """Whether the client gives any."""
        ...

    async def read(self) -> bytes:
        """Some of standard input; empty at its end, and at once when the client gives none."""
        ...

    async def write(self, data: bytes, *, error: bool = False) -> None:
        """To standard output or error; what the client does not want is dropped. Waits for a slow client.

        With a terminal both are its output, line ends already translated.
        """
        ...

    async def resized(self) -> Size:
        """The next size of the client's terminal."""
        ...


class Streams(Protocol):
    """Calls are cancelled when their client goes."""

    def check(self, target: ContainerRef) -> None:
        """Raises StreamError for a pod (404) or container that is not here. For port-forward `container` is empty."""
        ...

    async def exec(self, target: ContainerRef, command: list[str], io: ContainerIO) -> int:
        """The exit status. Raises StreamError when the command cannot be started."""
        ...

    async def attach(self, target: ContainerRef, io: ContainerIO) -> None:
        """Until the container ends. Raises StreamError."""
        ...

    async def port_forward(self, target: ContainerRef, port: int) -> Duplex:
        """A connection to a port of the pod. Raises OSError."""
        ...

    async def dial(self, host: str, port: int) -> Duplex:
        """A connection to an address of the cluster's network, as seen from the node. Raises OSError."""
        ...
