"""exec and attach, apart from how their bytes travel: what was asked for, standard streams, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twinplane.dataplane.streaming.contract import ContainerRef, Size, StreamError, Streams

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
"""Channel numbers, and the order of the streams in `STREAM_TYPES`."""
STREAM_TYPES = ("stdin", "stdout", "stderr", "error", "resize")
STDIN_PIECES = 16
"""Messages of standard input that may wait for a command; then the client is no longer read from."""
SUCCESS = {"metadata": {}, "status": "Success"}

T = TypeVar("T")
Send = Callable[[int, bytes], Awaitable[None]]
"""(channel, data)"""


@dataclass(frozen=True, slots=True)
class RemoteCommand:
    """A request for `/exec/...` or `/attach/...`."""

    kind: str
    target: ContainerRef
    command: list[str]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @property
    def channels(self) -> list[int]:
        """The ones that were asked for; a terminal has no standard error of its own."""
        wanted = (self.stdin, self.stdout, self.stderr and not self.tty, True, self.tty)
        return [channel for channel, is_wanted in enumerate(wanted) if is_wanted]


def remote_command(kind: str, target: ContainerRef, query: Mapping[str, Sequence[str]]) -> RemoteCommand:
    """Raises StreamError (400) when none of the standard streams is asked for."""
    stdin, stdout, stderr, tty = (query.get(name, [""])[-1] == "1" for name in ("input", "output", "error", "tty"))
    if not (stdin or stdout or stderr):
        raise StreamError("you must specify at least 1 of stdin, stdout, stderr", 400)
    return RemoteCommand(kind, target, list(query.get("command", ())), stdin, stdout, stderr, tty)


class ClientIO:
    """Implements `ContainerIO`; the protocol feeds it with what the client sends."""

    def __init__(self, command: RemoteCommand, send: Send) -> None:
        self.tty = command.tty
        self.stdin = command.stdin
        self._wanted = frozenset(command.channels)
        self._send = send
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(STDIN_PIECES)
        self._sizes: asyncio.Queue[Size] = asyncio.Queue(1)
        self._ended = not command.stdin

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await self._stdin.get()
        self._ended = not data
        return data

    async def write(self, data: bytes, *, error: bool = False) -> None:
        channel = STDERR if error and not self.tty else STDOUT
        if channel in self._wanted and data:
            await self._send(channel, data)

    async def resized(self) -> Size:
        return await self._sizes.get()

    async def feed(self, channel: int, data: bytes) -> None:
        """From the client. Waits while the command does not read; what is for no channel of ours is dropped."""
        if channel == STDIN and data and STDIN in self._wanted:
            await self._stdin.put(data)
        elif channel == RESIZE:
            self._resize(data)

    async def feed_end(self) -> None:
        """Standard input has ended."""
        if STDIN in self._wanted:
            await self._stdin.put(b"")

    def _resize(self, data: bytes) -> None:
        try:
            size = json.loads(data)
            latest = Size(int(size["Width"]), int(size["Height"]))
        except (ValueError, KeyError, TypeError):
            # Upstream's decoder gives up on it, too; the terminal keeps its size.
            return
        if self._sizes.full():
            self._sizes.get_nowait()
        self._sizes.put_nowait(latest)


async def run(command: RemoteCommand, streams: Streams, io: ClientIO) -> dict[str, Any]:
    """The status to send when it has ended (metav1.Status), in the words of the kubelet's remotecommand server."""
    try:
        if command.kind == "attach":
            await streams.attach(command.target, io)
            return SUCCESS
        code = await streams.exec(command.target, command.command, io)
    except StreamError as error:
        doing = "attaching to container" if command.kind == "attach" else "executing command in container"
        return internal_error(f"error {doing}: {error}")
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": (
            "command terminated with non-zero exit code: "
            f"error executing command [{' '.join(command.command)}], exit code {code}"
        ),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(message: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


async def until_client_goes(work: Coroutine[Any, Any, T], reading: Coroutine[Any, Any, None]) -> T | None:
    """What `work` gives; None when `reading` the client ended before it, which cancels `work`."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work), asyncio.create_task(reading)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
