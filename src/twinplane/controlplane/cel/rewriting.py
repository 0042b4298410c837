"""What the binding cannot express, written in terms of what it can, before an expression is compiled.

Two things: Kubernetes' functions with optional results (`format.named`, `Format.validate`), whose Python side returns a
map that is then indexed; and message literals of mutating policies (`Object.spec{replicas: 3}`, `JSONPatch{...}`),
which become maps. Only tokens are looked at; what is no such call stays as it is, columns included where possible.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<text>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]*`)
  | (?P<number>\d[\w.]*)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_INDEXED = {"validate": '[?"errors"]', "named": '[?"format"]'}
_MESSAGES = frozenset({"Object", "JSONPatch"})
_CLOSING = {")": "(", "]": "[", "}": "{"}


def rewritten(text: str) -> str:
    """`text` with both kinds of calls replaced; unbalanced text is returned for the compiler to refuse."""
    if not any(word in text for word in ("validate", "named", "Object", "JSONPatch")):
        return text
    tokens = [(str(match.lastgroup), match.group()) for match in _TOKEN.finditer(text)]
    out: list[str] = []
    opened: list[tuple[str, str]] = []
    """(bracket, what follows the closing one; `fields` marks a message literal)."""
    for position, (kind, token) in enumerate(tokens):
        if kind == "mark" and token in "([{":
            opened.append((token, _after(tokens, position, out)))
        elif kind == "name" and _names_field(tokens, position, opened):
            out.append(f'"{token.strip("`")}"')
            continue
        out.append(token)
        if kind == "mark" and token in _CLOSING:
            if not opened or opened[-1][0] != _CLOSING[token]:
                return text
            after = opened.pop()[1]
            out.append("" if after == "fields" else after)
    return "".join(out)


def _after(tokens: list[tuple[str, str]], position: int, out: list[str]) -> str:
    if tokens[position][1] == "(":
        chain = _chain(tokens, position)
        known = len(chain) > 1 or (len(chain) == 1 and _preceded_by_dot(tokens, position))
        if known and chain[-1] == "named" and chain[-2:-1] != ["format"]:
            return ""
        return _INDEXED.get(chain[-1], "") if known else ""
    if tokens[position][1] == "{":
        chain = _chain(tokens, position)
        if chain and chain[0] in _MESSAGES:
            length = 2 * len(chain) - 1
            del out[len(out) - length :]
            return "fields"
    return ""


def _chain(tokens: list[tuple[str, str]], position: int) -> list[str]:
    """The names joined by dots right before a bracket, e.g. `Object.spec` before `{`."""
    names: list[str] = []
    at = position - 1
    while at >= 0 and tokens[at][0] == "name":
        names.insert(0, tokens[at][1])
        if at < 2 or tokens[at - 1][1] != "." or tokens[at - 2][0] != "name":
            break
        at -= 2
    return names


def _preceded_by_dot(tokens: list[tuple[str, str]], position: int) -> bool:
    return position >= 2 and tokens[position - 2][1] == "."


def _names_field(tokens: list[tuple[str, str]], position: int, opened: list[tuple[str, str]]) -> bool:
    """A field of the innermost message literal: a name after `{` or `,` and before `:`."""
    if not opened or opened[-1] != ("{", "fields"):
        return False
    before = next((token for kind, token in reversed(tokens[:position]) if kind != "space"), "")
    after = next((token for kind, token in tokens[position + 1 :] if kind != "space"), "")
    return before in ("{", ",", "?") and after == ":"
