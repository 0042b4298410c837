"""Regular expressions as Go writes them (RE2), for Python's `re`.

Patterns in schemas and in CEL are RE2's. What only one of the two knows is translated, or refused as Go refuses it:
a definition that is accepted here is accepted by Kubernetes, and the other way around.
"""

from __future__ import annotations

import re
from functools import lru_cache

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_LETTERS = r"A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u02c1\u0370-\u1fff\u2c00-\ud7ff\uf900-\uffdc"
_UNICODE = {"L": _LETTERS, "Lu": "A-Z\xc0-\xd6\xd8-\xde", "Ll": "a-z\xdf-\xf6\xf8-\xff", "N": "0-9", "Nd": "0-9"}
"""Unicode's classes by their ranges, near enough: the common scripts, whole blocks at a time."""
_TOKEN = re.compile(
    r"""
    (?P<posix>\[:(?P<not>\^?)(?P<name>[a-z]+):\])
  | (?P<quoted>\\Q.*?(?:\\E|\Z))
  | (?P<unicode>\\(?P<p>[pP])(?:\{(?P<long>\^?\w+)\}|(?P<short>\w)))
  | (?P<code>\\x\{(?P<hex>[0-9A-Fa-f]+)\})
  | (?P<escape>\\.)
  | (?P<look>\(\?(?:<?[=!]|\#|\(|P[=>])|\(\?>)
  | (?P<group>\(\?<(?=[A-Za-z_]))
  | (?P<possessive>[*+?}]\+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class BadPattern(ValueError):
    """In the words of Go's regexp/syntax, as far as they are short."""


@lru_cache(maxsize=2048)
def compile_pattern(text: str) -> re.Pattern[str]:
    """Raises BadPattern."""
    try:
        return re.compile(_translated(text), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"error parsing regexp: {error}") from None


def _translated(text: str) -> str:
    if text.isalnum():
        return text
    out: list[str] = []
    in_class = False
    multiline = "(?m" in text
    for match in _TOKEN.finditer(text):
        kind, token = _kind(match), match.group()
        if kind == "other":
            if token == "[" and not in_class:
                in_class = True
            elif token == "[":
                token = r"\["
            elif token == "]" and in_class and out[-1] not in ("[", "[^"):
                in_class = False
            elif token == "^" and in_class and out[-1] == "[":
                out[-1], token = "[^", ""
            elif in_class and (token in "&~|" or (token == "-" and out[-1] == "-")):
                # Python keeps doubled marks within classes for set operations that are to come.
                token = "\\" + token
            elif token == "$" and not in_class and not multiline:
                token = r"\Z"
            if token:
                out.append(token)
        else:
            out.append(_special(match, kind, token, in_class=in_class))
    return "".join(out)


def _kind(match: re.Match[str]) -> str:
    kinds = ("posix", "quoted", "unicode", "code", "escape", "look", "group", "possessive")
    return next((kind for kind in kinds if match[kind] is not None), "other")


def _special(match: re.Match[str], kind: str, token: str, *, in_class: bool) -> str:
    if kind == "posix":
        ranges = _POSIX.get(match["name"])
        if ranges is None or not in_class:
            raise BadPattern(f"error parsing regexp: invalid character class range: `{token}`")
        return ranges if not match["not"] else _complement(ranges)
    if kind == "quoted":
        return re.escape(token[2:].removesuffix("\\E"))
    if kind == "unicode":
        return _unicode(match, token, in_class=in_class)
    if kind == "code":
        return f"\\U{int(match['hex'], 16):08x}"
    if kind == "escape":
        return _escape(token)
    if in_class:
        return token.replace("[", r"\[")
    if kind == "group":
        return "(?P<"
    if kind == "possessive":
        raise BadPattern(f"error parsing regexp: invalid nested repetition operator: `{token}`")
    raise BadPattern(f"error parsing regexp: invalid or unsupported Perl syntax: `{token}`")


def _escape(token: str) -> str:
    if token == "\\z":
        return r"\Z"
    if token[1] in "123456789Zk":
        raise BadPattern(f"error parsing regexp: invalid escape sequence: `{token}`")
    return token if token[1].isalnum() else "\\" + token[1]


def _unicode(match: re.Match[str], token: str, *, in_class: bool) -> str:
    name = match["long"] or match["short"]
    negated = (match["p"] == "P") != name.startswith("^")
    ranges = _UNICODE.get(name.lstrip("^"))
    if ranges is None:
        raise BadPattern(f"error parsing regexp: invalid character class range: `{token}`")
    if in_class:
        return _complement(ranges) if negated else ranges
    return f"[{'^' if negated else ''}{ranges}]"


def _complement(ranges: str) -> str:
    """Of a class, as ranges: what inside of another class no negation can say."""
    inside = re.compile(f"[{ranges}]").fullmatch
    marks = [bool(inside(chr(code))) for code in range(0x250)]
    out, start = [], None
    for code, taken in enumerate([*marks, True]):
        if not taken and start is None:
            start = code
        elif taken and start is not None:
            out.append(f"\\u{start:04x}-\\u{code - 1:04x}")
            start = None
    return "".join(out)
