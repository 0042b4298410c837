"""A printer: the columns of a kind, and what makes the cells of a row. Shared formats of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twinplane.clock import from_rfc3339
from twinplane.kubeclient.contract import Object

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
Row = Callable[[Object, float], list[Any]]
"""(object, now in seconds since the epoch) -> one cell for each column."""

_HOUR, _DAY = 3600, 86400
_YEAR = 365 * _DAY

_DESCRIPTIONS = {
    "Name": (
        "Name must be unique within a namespace. Is required when creating resources, although some resources may "
        "allow a client to request the generation of an appropriate name automatically."
    ),
    "Age": (
        "CreationTimestamp is a timestamp representing the server time when this object was created. It is represented "
        "in RFC3339 form and is in UTC."
    ),
}


class Printer(NamedTuple):
    columns: list[dict[str, Any]]
    row: Row


def printer(names: str, row: Row, wide: str = "") -> Printer:
    """`names` and `wide` list columns apart by commas; `:integer`, `:boolean` or `:string/name` says its type."""
    columns = [_column(text, 0) for text in names.split(",")]
    return Printer(columns + [_column(text, 1) for text in wide.split(",") if text], row)


def _column(text: str, priority: int) -> dict[str, Any]:
    name, _, kind = text.strip().partition(":")
    kind, _, form = kind.partition("/")
    return {
        "name": name,
        "type": kind or "string",
        "format": form or ("name" if name == "Name" else ""),
        "description": _DESCRIPTIONS.get(name, f"{name} of the object."),
        "priority": priority,
    }


_STEPS: tuple[tuple[int, int, str, int, str], ...] = (
    (120, 1, "s", 0, ""),
    (600, 60, "m", 1, "s"),
    (180 * 60, 60, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", 60, "m"),
    (48 * _HOUR, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (730 * _DAY, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)
"""Below so many seconds: the unit and its letter, then a second unit where there is one."""


def human_duration(seconds: float) -> str:
    """Go's `duration.HumanDuration`: two units at most, coarser as time grows."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    for limit, unit, letter, minor, minor_letter in _STEPS:
        if whole < limit:
            rest = whole % unit // minor if minor else 0
            return f"{whole // unit}{letter}" + (f"{rest}{minor_letter}" if rest else "")
    return f"{whole // _YEAR}y"


def since(timestamp: str | None, now: float) -> str:
    """The age of an RFC 3339 time."""
    if not timestamp:
        return UNKNOWN
    try:
        return human_duration(now - from_rfc3339(timestamp))
    except ValueError:
        return UNKNOWN


def name(body: Object) -> str:
    return str(body["metadata"].get("name", ""))


def age(body: Object, now: float) -> str:
    return since(body["metadata"].get("creationTimestamp"), now)


def spec(body: Object) -> dict[str, Any]:
    return body.get("spec") or {}


def status(body: Object) -> dict[str, Any]:
    return body.get("status") or {}


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: dict[str, Any] | None) -> str:
    """A metav1.LabelSelector as kubectl writes it."""
    if selector is None:
        return NONE
    words = {
        "In": "{key} in ({values})",
        "NotIn": "{key} notin ({values})",
        "Exists": "{key}",
        "DoesNotExist": "!{key}",
    }
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        values = ",".join(sorted(term.get("values") or ()))
        terms.append((term["key"], words.get(term.get("operator", ""), "{key}").format(key=term["key"], values=values)))
    return ",".join(text for _, text in sorted(terms)) or NONE


def containers(template: dict[str, Any]) -> tuple[str, str]:
    """Names and images of a pod template, each joined by commas."""
    listed = (template.get("spec") or {}).get("containers") or ()
    names = ",".join(entry.get("name", "") for entry in listed)
    return names, ",".join(entry.get("image", "") for entry in listed)


def boolean(value: Any) -> str:
    """As Go prints an optional boolean."""
    return UNSET if value is None else str(bool(value)).lower()
