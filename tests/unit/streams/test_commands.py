"""What a simulated container answers to `kubectl exec`."""

from __future__ import annotations

import asyncio
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.dataplane.simulation.streams.commands import Commands, Container
from twinplane.dataplane.simulation.streams.script import ScriptError, Step, parse
from twinplane.dataplane.streaming.contract import Size
from twinplane.testing.virtual_time import virtual_time


class Noon:
    def now(self) -> float:
        return 1_700_000_000.0


class Recorder:
    """Implements `ContainerIO`."""

    def __init__(self, stdin: bytes = b"", *, tty: bool = False) -> None:
        self.tty = tty
        self.stdin = bool(stdin)
        self._typed = [stdin] if stdin else []
        self.out = ""
        self.err = ""

    async def read(self) -> bytes:
        return self._typed.pop() if self._typed else b""

    async def write(self, data: bytes, *, error: bool = False) -> None:
        if error:
            self.err += data.decode()
        else:
            self.out += data.decode()

    async def resized(self) -> Size:
        raise AssertionError("nobody asks")


async def run(*words: str, stdin: bytes = b"", tty: bool = False) -> tuple[int, str, str]:
    io = Recorder(stdin, tty=tty)
    environment = {"PATH": "/bin", "HOSTNAME": "web-0", "COLOR": "blue"}
    status = await Commands(Container("web-0", environment, Noon()), io).run(list(words))
    return status, io.out, io.err


@pytest.mark.parametrize(
    ("words", "status", "out"),
    [
        (["hostname"], 0, "web-0\n"),
        (["/bin/hostname"], 0, "web-0\n"),
        (["env"], 0, "PATH=/bin\nHOSTNAME=web-0\nCOLOR=blue\n"),
        (["printenv", "COLOR"], 0, "blue\n"),
        (["printenv", "COLOR", "SHAPE"], 1, "blue\n"),
        (["echo", "a", "b  c"], 0, "a b  c\n"),
        (["echo", "-n", "a"], 0, "a"),
        (["cat", "/etc/hostname"], 0, "web-0\n"),
        (["date", "+%Y-%m-%d %s"], 0, "2023-11-14 1700000000\n"),
        (["date"], 0, "Tue Nov 14 22:13:20 UTC 2023\n"),
        (["true"], 0, ""),
        (["false"], 1, ""),
        (["sh", "-c", "echo $COLOR ${COLOR}s '$COLOR' \"$COLOR\" \\$COLOR"], 0, "blue blues $COLOR blue $COLOR\n"),
        (["sh", "-c", "false && echo a || echo b; exit 3; echo c"], 3, "b\n"),
        (["sh", "-c", "true\necho a # not b\n"], 0, "a\n"),
        (["sh", "-c", "exit"], 0, ""),
    ],
)
async def test_commands(words: list[str], status: int, out: str) -> None:
    assert await run(*words) == (status, out, "")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["bash"], 126, 'exec: "bash": executable file not found in $PATH: unknown\n'),
        (["./run"], 126, 'exec: "./run": executable file not found in $PATH: unknown\n'),
        ([], 126, 'exec: "": executable file not found'),
        (["cat", "/etc/passwd"], 1, "cat: can't open '/etc/passwd': No such file or directory\n"),
        (["sleep", "x"], 1, "sleep: invalid number 'x'\n"),
        (["sh", "-c"], 2, "option requires an argument"),
        (["sh", "script"], 127, "can't open"),
        (["sh", "-c", "ls /"], 127, "sh: ls: not found\n"),
        (["sh", "-c", "echo a | cat"], 2, "syntax error"),
        (["sh", "-c", "echo `date`"], 2, "syntax error"),
        (["sh", "-c", "&& true"], 2, "syntax error"),
        (["sh", "-c", "true &&"], 2, "unexpected end of file"),
        (["env", "FOO=1"], 127, "env: can't execute"),
    ],
)
async def test_refusals(words: list[str], status: int, says: str) -> None:
    found = await run(*words)
    assert found[0] == status
    assert says in found[2]


async def test_standard_input() -> None:
    assert await run("cat", stdin=b"abc") == (0, "abc", "")
    assert await run("sh", stdin=b"echo $COLOR\nfalse\n") == (1, "blue\n", "")


@pytest.mark.parametrize(
    ("words", "keys", "status", "shown"),
    [
        (["sh"], b"echo $COLOR\rexit 3\r", 3, "# echo $COLOR\nblue\n# exit 3\n"),
        (["sh"], b"falsx\x7fe\r\x04", 1, "# falsx\b \be\n# "),
        (["sh"], b"abc\x15true\r\x03\r\x1b\x04", 0, "# abc\b \b\b \b\b \btrue\n# ^C\n# \n# "),
        (["sh"], b"false", 1, "# false# "),
        (["cat"], b"a\rb\x04\x04", 0, "a\na\nbb"),
        (["cat"], b"a\x03", 130, "a^C\n"),
    ],
)
async def test_what_is_typed(words: list[str], keys: bytes, status: int, shown: str) -> None:
    assert await run(*words, stdin=keys, tty=True) == (status, shown, "")


@virtual_time
async def test_sleep_takes_its_time() -> None:
    before = asyncio.get_running_loop().time()
    assert (await run("sleep", "60", "30"))[0] == 0
    assert asyncio.get_running_loop().time() - before == pytest.approx(90)


@given(st.text(max_size=60))
def test_scripts_are_understood_or_refused(text: str) -> None:
    try:
        steps = parse(text, {})
    except ScriptError:
        return
    assert all(step.words for step in steps)


@given(st.lists(st.text("ab $'\"\\;&|<>", min_size=1, max_size=8), min_size=1, max_size=4))
def test_quoted_words_come_through(words: list[str]) -> None:
    assert parse(shlex.join(words), {}) == [Step(";", words)]
