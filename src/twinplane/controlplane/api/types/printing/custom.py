"""Custom resources: the columns that their definition asks for, read by JSON path.

`ResourceType.extra["printer_columns"]` holds the version's `additionalPrinterColumns` as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

from twinplane.controlplane.api.types.printing.column import Printer, age, name, printer, since
from twinplane.kubeclient.contract import Object

_STEP = re.compile(
    r"""\.(?P<key>[A-Za-z0-9_-]+(?:\\\.[A-Za-z0-9_-]+)*)"""
    r"""|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]|\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\[\?\(@\.(?P<field>[A-Za-z0-9_]+)\s*==\s*['"](?P<value>[^'"]*)['"]\)\]"""
)


def printer_for(columns: list[dict[str, Any]]) -> Printer:
    """Name, then the definition's columns; Age when it names none."""
    if not columns:
        return printer("Name,Age", lambda body, now: [name(body), age(body, now)])
    base = printer("Name", lambda body, now: [name(body)])
    definitions = base.columns + [
        {
            "name": column.get("name", ""),
            "type": column.get("type", "string"),
            "format": column.get("format", ""),
            "description": column.get("description", ""),
            "priority": column.get("priority", 0),
        }
        for column in columns
    ]

    def row(body: Object, now: float) -> list[Any]:
        return [name(body), *(_cell(body, column, now) for column in columns)]

    return Printer(definitions, row)


def _cell(body: Object, column: dict[str, Any], now: float) -> Any:
    found = read(body, column.get("jsonPath", ""))
    if not found:
        return None
    kind = column.get("type", "string")
    if kind == "date":
        return since(str(found[0]), now)
    if kind in ("integer", "number", "boolean"):
        return found[0] if isinstance(found[0], bool | int | float) else None
    return ",".join(_text(value) for value in found)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return str(value)


def read(body: Object, path: str) -> list[Any]:
    """The values at a JSON path of the subset that printer columns use; nothing for a path that leads nowhere."""
    values: list[Any] = [body]
    for step in _steps(path):
        values = [found for value in values for found in _follow(value, step)]
    return [value for value in values if value is not None]


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    return tuple(_STEP.finditer(path.strip("{}")))


def _follow(value: Any, step: re.Match[str]) -> list[Any]:
    key = step["key"] or step["quoted"]
    if key is not None:
        return [value[key.replace("\\.", ".")]] if isinstance(value, dict) and key.replace("\\.", ".") in value else []
    if not isinstance(value, list):
        return list(value.values()) if isinstance(value, dict) and step["all"] else []
    if step["all"]:
        return value
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    return [entry for entry in value if isinstance(entry, dict) and str(entry.get(step["field"])) == step["value"]]
