"""A terminal's line discipline: what the kernel does for a shell when `kubectl exec -it` sends keys one by one.

Keys are echoed, lines are given out when they are complete, ^D ends the input and ^C the command.
"""

from __future__ import annotations

from twinplane.dataplane.streaming.contract import ContainerIO, Size

INTERRUPT, END, ERASE, KILL = b"\x03", b"\x04", (b"\x7f", b"\b"), b"\x15"
LINE_BYTES_MAX = 4096


class Interrupted(Exception):
    """^C was pressed."""


class TerminalOutput:
    """Implements `ContainerIO`: line ends as the kernel translates them (ONLCR)."""

    tty = True

    def __init__(self, io: ContainerIO) -> None:
        self._io = io
        self.stdin = io.stdin

    async def read(self) -> bytes:
        return await self._io.read()

    async def write(self, data: bytes, *, error: bool = False) -> None:
        await self._io.write(data.replace(b"\n", b"\r\n"), error=error)

    async def resized(self) -> Size:
        return await self._io.resized()


class Terminal:
    """Implements `ContainerIO` around that of a client with a terminal; `read` gives one line at a time."""

    tty = True

    def __init__(self, io: ContainerIO) -> None:
        self._io = io
        self.stdin = io.stdin
        self._keys = b""
        self._ended = False

    async def read(self) -> bytes:
        """A line with its end. Raises Interrupted."""
        line = b""
        while not self._ended:
            if not self._keys:
                self._keys = await self._io.read()
                self._ended = not self._keys
                continue
            key, self._keys = self._keys[:1], self._keys[1:]
            if key in (b"\r", b"\n"):
                await self._io.write(b"\n")
                return line + b"\n"
            if key == INTERRUPT:
                await self._io.write(b"^C\n")
                raise Interrupted
            if key == END:
                if not line:
                    return b""
                return line
            line = await self._typed(line, key)
        return line

    async def _typed(self, line: bytes, key: bytes) -> bytes:
        if key in ERASE:
            if line:
                await self._io.write(b"\b \b")
            return line[:-1]
        if key == KILL:
            await self._io.write(b"\b \b" * len(line))
            return b""
        if (key < b" " and key != b"\t") or len(line) >= LINE_BYTES_MAX:
            return line
        await self._io.write(key)
        return line + key

    async def write(self, data: bytes, *, error: bool = False) -> None:
        await self._io.write(data, error=error)

    async def resized(self) -> Size:
        return await self._io.resized()
