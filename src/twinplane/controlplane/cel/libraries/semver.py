"""`semver`: semantic versions 2.0; and `compareTo`, `isLessThan`, `isGreaterThan`, which quantities share with them.

One implementation serves both types: when evaluated they are maps that say what they hold.
"""

from __future__ import annotations

import re
from typing import Any

from twinplane.controlplane.cel.functions import Function, function, method, opaque
from twinplane.controlplane.cel.libraries import quantities

_SEMVER = "kubernetes.Semver"
_NUMBER = "(0|[1-9][0-9]*)"
_PART = "[0-9A-Za-z-]+"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+({_PART}(?:\.{_PART})*))?"
).fullmatch
Version = dict[str, Any]


def parsed(text: str, normalize: bool = False) -> Version:
    found = _VERSION(_normalized(text) if normalize else text)
    if found is None:
        raise ValueError(f"invalid semver: {text}")
    numbers = [int(part) for part in found.group(1, 2, 3)]
    return opaque(semver=numbers, prerelease=found[4].split(".") if found[4] else [])


def _normalized(text: str) -> str:
    """Without a leading v and leading zeroes, with three numbers."""
    head = re.match(r"v?([0-9.]*)(.*)", text, re.DOTALL)
    assert head is not None
    numbers = [part.lstrip("0") or "0" for part in head[1].split(".")] if head[1] else []
    return ".".join([*numbers, "0", "0"][:3] if 0 < len(numbers) < 3 else numbers) + head[2]


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        parsed(text, normalize)
    except ValueError:
        return False
    return True


def _precedence(version: Version) -> tuple[Any, ...]:
    """A release comes after its pre-releases; numeric parts come before others."""
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in version["prerelease"])
    return tuple(version["semver"]), not parts, parts


def _compare(left: dict[str, Any], right: dict[str, Any]) -> int:
    if "quantity" in left:
        return quantities.compare(left, right)
    before, after = _precedence(left), _precedence(right)
    return (before > after) - (before < after)


def _comparisons(type: str) -> tuple[Function, ...]:
    return (
        method("compareTo", f"{type}, {type}", "int", _compare),
        method("isLessThan", f"{type}, {type}", "bool", lambda left, right: _compare(left, right) < 0),
        method("isGreaterThan", f"{type}, {type}", "bool", lambda left, right: _compare(left, right) > 0),
    )


FUNCTIONS = (
    function("semver", "string", _SEMVER, parsed),
    function("semver", "string, bool", _SEMVER, parsed),
    function("isSemver", "string", "bool", _is_semver),
    function("isSemver", "string, bool", "bool", _is_semver),
    method("major", _SEMVER, "int", lambda version: version["semver"][0]),
    method("minor", _SEMVER, "int", lambda version: version["semver"][1]),
    method("patch", _SEMVER, "int", lambda version: version["semver"][2]),
    *_comparisons(_SEMVER),
    *_comparisons("kubernetes.Quantity"),
)
