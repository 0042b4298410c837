"""The commands that `kubectl exec` finds in a simulated container, and what it says of all others.

No process runs: what is answered here is what can be answered truthfully without one. Called by `SimulatedStreams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from twinplane.clock import Clock
from twinplane.dataplane.simulation.streams.script import ScriptError, Step, parse
from twinplane.dataplane.simulation.streams.terminal import Interrupted, Terminal
from twinplane.dataplane.streaming.contract import ContainerIO

NOT_FOUND = 127
CANNOT_START = 126
USAGE = 2
INTERRUPTED = 130
PROMPT = "# "


@dataclass(frozen=True, slots=True)
class Container:
    """What the commands know of where they run."""

    hostname: str
    environment: Mapping[str, str]
    clock: Clock


class Commands:
    """`run` answers one command line as the kubelet's runtime and the command itself would."""

    def __init__(self, container: Container, io: ContainerIO) -> None:
        self._container = container
        self._io: ContainerIO = Terminal(io) if io.tty else io

    async def run(self, words: list[str]) -> int:
        """The exit status."""
        name = words[0] if words else ""
        if _base(name) not in _COMMANDS:
            await self._say_error(
                "OCI runtime exec failed: exec failed: unable to start container process: "
                f'exec: "{name}": executable file not found in $PATH: unknown\n'
            )
            return CANNOT_START
        try:
            return await _COMMANDS[_base(name)](self, words[1:])
        except Interrupted:
            return INTERRUPTED

    async def _say(self, text: str) -> int:
        await self._io.write(text.encode())
        return 0

    async def _say_error(self, text: str) -> None:
        await self._io.write(text.encode(), error=True)

    async def _refuse(self, text: str, status: int = 1) -> int:
        await self._say_error(f"{text}\n")
        return status

    # -- one method a command ------------------------------------------------------------------------------------

    async def hostname(self, words: list[str]) -> int:
        return await self._say(f"{self._container.hostname}\n")

    async def env(self, words: list[str]) -> int:
        if words:
            return await self._refuse(f"env: can't execute '{words[0]}': No such file or directory", NOT_FOUND)
        return await self._say("".join(f"{name}={value}\n" for name, value in self._container.environment.items()))

    async def printenv(self, words: list[str]) -> int:
        if not words:
            return await self.env([])
        known = [self._container.environment.get(name) for name in words]
        await self._say("".join(f"{value}\n" for value in known if value is not None))
        return int(None in known)

    async def echo(self, words: list[str]) -> int:
        if words[:1] == ["-n"]:
            return await self._say(" ".join(words[1:]))
        return await self._say(" ".join(words) + "\n")

    async def cat(self, words: list[str]) -> int:
        """/etc/hostname, and standard input."""
        status = 0
        for word in words or ["-"]:
            if word == "-":
                while data := await self._io.read():
                    await self._io.write(data)
            elif word == "/etc/hostname":
                await self._say(f"{self._container.hostname}\n")
            else:
                status = await self._refuse(f"cat: can't open '{word}': No such file or directory")
        return status

    async def date(self, words: list[str]) -> int:
        now = datetime.fromtimestamp(self._container.clock.now(), UTC)
        if words and words[0].startswith("+"):
            return await self._say(now.strftime(words[0][1:].replace("%s", str(int(now.timestamp())))) + "\n")
        return await self._say(now.strftime("%a %b %e %H:%M:%S UTC %Y\n"))

    async def sleep(self, words: list[str]) -> int:
        try:
            seconds = sum(float(word) for word in words)
        except ValueError:
            seconds = -1.0
        if not words or not 0 <= seconds < float("inf"):
            return await self._refuse(f"sleep: invalid number '{' '.join(words)}'")
        await asyncio.sleep(seconds)
        return 0

    async def true(self, words: list[str]) -> int:
        return 0

    async def false(self, words: list[str]) -> int:
        return 1

    async def sh(self, words: list[str]) -> int:
        """`sh -c SCRIPT`, the script on standard input, or what is typed."""
        if words[:1] == ["-c"]:
            if len(words) < 2:
                return await self._refuse("sh: option requires an argument: c", USAGE)
            return await self._script(words[1])
        if words:
            return await self._refuse(f"sh: can't open '{words[0]}': No such file or directory", NOT_FOUND)
        if self._io.tty:
            return await self._interactive()
        text = b""
        while data := await self._io.read():
            text += data
        return await self._script(text.decode(errors="replace"))

    async def _interactive(self) -> int:
        status = 0
        while True:
            await self._say(PROMPT)
            try:
                line = (await self._io.read()).decode(errors="replace")
            except Interrupted:
                status = INTERRUPTED
                continue
            words = line.split()
            if not line or words[:1] == ["exit"]:
                return int(words[1]) % 256 if words[1:] and words[1].isdecimal() else status
            status = await self._script(line)

    async def _script(self, text: str) -> int:
        try:
            steps = parse(text, self._container.environment)
        except ScriptError as error:
            return await self._refuse(f"sh: {error}", USAGE)
        status = 0
        for step in steps:
            if _is_due(step, status):
                if step.words[0] == "exit":
                    return int(step.words[1]) % 256 if step.words[1:] and step.words[1].isdecimal() else status
                status = await self._step(step.words)
        return status

    async def _step(self, words: list[str]) -> int:
        command = _COMMANDS.get(_base(words[0]))
        if command is None:
            return await self._refuse(f"sh: {words[0]}: not found", NOT_FOUND)
        return await command(self, words[1:])


def _is_due(step: Step, status: int) -> bool:
    return step.after == ";" or (step.after == "&&") == (status == 0)


def _base(name: str) -> str:
    """`/bin/sh` is `sh`."""
    for folder in ("/bin/", "/usr/bin/"):
        if name.startswith(folder):
            return name.removeprefix(folder)
    return name


_COMMANDS: dict[str, Callable[[Commands, list[str]], Awaitable[int]]] = {
    "hostname": Commands.hostname,
    "env": Commands.env,
    "printenv": Commands.printenv,
    "echo": Commands.echo,
    "cat": Commands.cat,
    "date": Commands.date,
    "sleep": Commands.sleep,
    "true": Commands.true,
    "false": Commands.false,
    "sh": Commands.sh,
}
