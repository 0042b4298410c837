"""Shell scripts as far as simulated containers understand them: simple commands, quotes, variables, `;`, `&&`, `||`.

Pure: text in, steps out. What is more than that is refused rather than misunderstood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


class ScriptError(Exception):
    """With the text that a shell would put behind its name."""


@dataclass(frozen=True, slots=True)
class Step:
    """A simple command; `after` is `;`, `&&` or `||`: what stands between it and the one before."""

    after: str
    words: list[str]


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\n)
    |(?P<comment>(?<![^\s;])\#[^\n]*)
    |(?P<joint>&&|\|\||;|\n)
    |(?P<single>'[^']*')
    |(?P<double>"(?:[^"\\]|\\.)*")
    |(?P<variable>\$\{\w+\}|\$\w+)
    |(?P<escaped>\\.)
    |(?P<plain>[^\s'"\\$;&|<>()`#]+|\#)""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)|\\([$\"\\`])")


def parse(text: str, environment: Mapping[str, str]) -> list[Step]:
    """Raises ScriptError for syntax that is not understood."""
    steps: list[Step] = []
    words: list[str] = []
    word: str | None = None
    after, at = ";", 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ScriptError(f"syntax error: unexpected {text[at : at + 10]!r} (a simulated container runs no shell)")
        at, kind, token = match.end(), match.lastgroup, match.group()
        if kind in ("space", "comment", "joint"):
            if word is not None:
                words.append(word)
                word = None
            if kind == "joint":
                _end(steps, words, after, token)
                after, words = (";" if token == "\n" else token), []
        else:
            word = (word or "") + _value(kind or "", token, environment)
    if word is not None:
        words.append(word)
    if words:
        steps.append(Step(after, words))
    elif after != ";":
        raise ScriptError("syntax error: unexpected end of file")
    return steps


def _end(steps: list[Step], words: list[str], after: str, token: str) -> None:
    if words:
        steps.append(Step(after, words))
    elif token != "\n" or after != ";":
        raise ScriptError(f'syntax error: unexpected "{"newline" if token == chr(10) else token}"')


def _value(kind: str, token: str, environment: Mapping[str, str]) -> str:
    if kind == "single":
        return token[1:-1]
    if kind == "escaped":
        return token[1:]
    if kind == "plain":
        return token
    text = token[1:-1] if kind == "double" else token
    return _VARIABLE.sub(lambda found: found[3] or environment.get(found[1] or found[2], ""), text)
