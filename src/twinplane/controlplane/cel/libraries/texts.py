"""`find` and `findAll`: what of a string matches a regular expression; and escaping of JSON pointers."""

from __future__ import annotations

from twinplane.controlplane.cel.functions import function, method
from twinplane.controlplane.cel.regular_expressions import compile_pattern


def _find(text: str, pattern: str) -> str:
    found = compile_pattern(pattern).search(text)
    return found.group() if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match.group() for match in compile_pattern(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _escape_key(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


FUNCTIONS = (
    method("find", "string, string", "string", _find),
    method("findAll", "string, string", "list(string)", _find_all),
    method("findAll", "string, string, int", "list(string)", _find_all),
    function("jsonpatch.escapeKey", "string", "string", _escape_key),
)
