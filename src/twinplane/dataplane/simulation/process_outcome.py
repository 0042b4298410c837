"""How a simulated container's process would end, for commands that can be followed without running them.

`sleep 30`, `false`, `sh -c "echo done; exit 3"`: the words of the container's command say how long it runs, what it
prints and with which code it ends. What is not understood in full has no outcome, and the life cycle's data decides.
Pure; called by `PodLife` when a container starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twinplane.dataplane.simulation.streams.script import ScriptError, parse

FOREVER = float("inf")
KILLED = 137
DIGITS_MAX = 18
SHELLS = ("sh", "ash", "bash")
FOLDERS = ("/bin/", "/usr/bin/")


class Outcome(NamedTuple):
    seconds: float
    """From its start to its end; infinite for a process that only ends when it is stopped."""
    code: int
    lines: tuple[str, ...] = ()
    """What it has printed by its end."""
    stopped_code: int = KILLED
    """Its code when it is stopped earlier: most commands, as process 1, heed no SIGTERM and are killed."""


def outcome_of(
    image: str, command: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> Outcome | None:
    """Of a container; without a command, its image says what runs."""
    base = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return outcome([*(command or _ENTRYPOINTS.get(base, ())), *arguments], environment)


def outcome(words: Sequence[str], environment: Mapping[str, str]) -> Outcome | None:
    """None for a command that nobody here knows."""
    name = program(words[0]) if words else ""
    if name in SHELLS:
        return _script(words[2], environment) if len(words) >= 3 and words[1] == "-c" else None
    known = _PROGRAMS.get(name)
    return known(words[1:]) if known is not None else None


def program(word: str) -> str:
    """`/bin/sh` is `sh`."""
    folder = next((folder for folder in FOLDERS if word.startswith(folder)), "")
    return word.removeprefix(folder)


def _script(text: str, environment: Mapping[str, str]) -> Outcome | None:
    rest = _TRAP.sub("", text)
    if _ENDLESS.search(rest) and not _WAY_OUT.search(rest):
        return Outcome(FOREVER, 0) if rest == text else Outcome(FOREVER, 0, stopped_code=0)
    try:
        steps = parse(text, environment)
    except ScriptError:
        return None
    seconds, code, lines = 0.0, 0, list[str]()
    for step in steps:
        if step.after != ";" and (step.after == "&&") != (code == 0):
            continue
        if step.words[0] == "exit":
            return Outcome(seconds, _number(step.words[1:], code) % 256, tuple(lines))
        done = outcome(step.words[1:] if step.words[0] == "exec" else step.words, environment)
        if done is None:
            return None
        seconds, code = seconds + done.seconds, done.code
        lines += done.lines
        if seconds == FOREVER:
            break
    return Outcome(seconds, code, tuple(lines))


def _number(words: Sequence[str], default: int) -> int:
    return int(words[0]) if words and words[0].isdecimal() and len(words[0]) <= DIGITS_MAX else default


def _sleep(words: Sequence[str]) -> Outcome | None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    total = 0.0
    for word in words:
        if word in ("infinity", "inf"):
            return Outcome(FOREVER, 0)
        unit = units.get(word[-1:], 0)
        digits = word[:-1] if unit else word
        if not digits.replace(".", "", 1).isdecimal():
            return Outcome(0.0, 1, (f"sleep: invalid number '{word}'",))
        total += float(digits) * (unit or 1)
    return Outcome(total, 0) if words else None


def _echo(words: Sequence[str]) -> Outcome:
    return Outcome(0.0, 0, tuple(" ".join(words).split("\n")))


_ENDLESS = re.compile(r"\bwhile\s+(true|:|sleep\s[^;\n]*)\s*[;\n]\s*do\b")
_TRAP = re.compile(r"\btrap\s+exit\s+(?:SIG)?TERM\s*;")
"""Heeds SIGTERM, and so ends well when it is stopped."""
_WAY_OUT = re.compile(r"\b(break|exit|exec|return)\b")

_ENTRYPOINTS = {"pause": ("/pause",)}
"""By the last part of the image's name. Only of images that are the same everywhere."""

_PROGRAMS: dict[str, Callable[[Sequence[str]], Outcome | None]] = {
    "sleep": _sleep,
    "echo": _echo,
    "true": lambda words: Outcome(0.0, 0),
    ":": lambda words: Outcome(0.0, 0),
    "false": lambda words: Outcome(0.0, 1),
    "pause": lambda words: Outcome(FOREVER, 0, stopped_code=0),
    "/pause": lambda words: Outcome(FOREVER, 0, stopped_code=0),
}
