"""The table of messages: for each field number its JSON name, its type and whether Go's JSON has it when it is zero.

`messages.txt` holds one section a group version and one line a message; `decoding` asks for the messages it meets, and
only those lines are parsed. Field numbers and names are those of upstream's generated.proto, the rest is what the Go
structs say. Numbers never change (proto compatibility), so the table of the newest version, Kubernetes 1.37, serves
every kept version: fields that a version does not know are dropped afterwards, as from JSON. (The three that 1.37 no
longer has were alpha in 1.35 and 1.36, and off.) A new release adds to it by hand; tests compare it with the published
schemas. A field is `name=number:type` with

    no `:type`      a string
    `Name`          a message of the same section; `v1.Name` and `meta.Name` are those of others
    `[]`, `{}`      a list; a map from strings
    `!`             a zero on the wire is told: the Go field is a pointer, or has no `omitempty`
    no name         an embedded struct, whose fields JSON has beside the others

The list of a kind is none of its lines: every one is like every other.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from twinplane.controlplane.api.protobuf.values import CONVERSIONS, Conversion
from twinplane.controlplane.api.protobuf.wire import BYTES, VARINT, tag_of

_FIELD = re.compile(r"([^=]*)=(\d+)(?::([\w./]+))?(\[\]|\{\})?(!)?")
_META = "meta"
"""The section of apimachinery's meta/v1, whose kinds (DeleteOptions, ...) are part of every group version."""


_OF_OBJECT = ("metadata=1:meta.ObjectMeta", "metadata=1:ObjectMeta")


class Shape(Enum):
    ONE = ""
    LIST = "[]"
    MAP = "{}"


class Field(NamedTuple):
    """Either `conversion` is there or `message`, the full name of a message."""

    name: str
    number: int
    shape: Shape
    conversion: Conversion | None
    message: str
    zero_is_told: bool

    @property
    def wire_type(self) -> int:
        """Of one value, an element of a list, or a value of a map."""
        return BYTES if self.conversion is None else self.conversion.wire_type

    @property
    def tag(self) -> int:
        return tag_of(self.number, BYTES if self.shape is Shape.MAP else self.wire_type)


class Message:
    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.fields = fields
        self.by_tag = {field.tag: field for field in fields}
        self.packed = {
            tag_of(field.number, BYTES): field
            for field in fields
            if field.shape is Shape.LIST and field.wire_type == VARINT
        }
        self.by_number = {field.number: field for field in fields}


@cache
def _lines() -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    for line in (files(__package__) / "messages.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        else:
            name, _, fields = line.partition(" ")
            found[f"{section}.{name}"] = fields
            if fields.startswith(_OF_OBJECT):
                found.setdefault(f"{section}.{name}List", f"metadata=1:meta.ListMeta items=2:{name}[]")
    return found


def names() -> tuple[str, ...]:
    """The full name of every message: `apps/v1.Deployment`, `v1.PodSpec`, `meta.ObjectMeta`."""
    return tuple(_lines())


def has_message(api_version: str, kind: str) -> bool:
    return _name_of_kind(api_version, kind) is not None


def _name_of_kind(api_version: str, kind: str) -> str | None:
    return next((name for name in (f"{api_version}.{kind}", f"{_META}.{kind}") if name in _lines()), None)


def name_of_kind(api_version: str, kind: str) -> str:
    """Raises ValueError when there is none."""
    if (name := _name_of_kind(api_version, kind)) is not None:
        return name
    raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')


@cache
def message(name: str) -> Message:
    """By its full name, which must be in the table."""
    section = name.rpartition(".")[0]
    return Message(name, tuple(_field(section, entry) for entry in _lines()[name].split()))


def _field(section: str, entry: str) -> Field:
    match = _FIELD.fullmatch(entry)
    if match is None:
        raise AssertionError(f"messages.txt: {entry!r} in section {section}")
    name, number, of, shape, told = match.groups(default="")
    conversion = CONVERSIONS.get(of or "string")
    full_name = "" if conversion else of if "." in of else f"{section}.{of}"
    always = conversion is not None and not conversion.zero_may_be_left_out
    return Field(name, int(number), Shape(shape), conversion, full_name, bool(told) or always)
