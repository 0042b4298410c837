"""An nftables table as a value, and the shortest text that turns one into another.

What changes often (addresses) is in sets and maps, whose elements are added and taken away one by one; whatever else
differs replaces the table in one transaction, which leaves tracked connections alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Elements:
    """A set, or a map when the type has a colon. A set's elements map to the empty string."""

    type: str
    elements: Mapping[str, str] = field(default_factory=dict)
    interval: bool = False

    @property
    def keyword(self) -> str:
        return "map" if ":" in self.type else "set"


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    sets: Mapping[str, Elements]
    chains: Mapping[str, tuple[str, ...]]
    """Name -> statements."""

    def _shape(self) -> object:
        kinds = {name: (found.type, found.interval) for name, found in self.sets.items()}
        return self.name, kinds, self.chains


def set_of(type_: str, members: Iterable[str], *, interval: bool = False) -> Elements:
    return Elements(type_, dict.fromkeys(sorted(members), ""), interval)


def remove(name: str) -> str:
    """Works whether the table exists or not."""
    return f"table ip {name}\ndelete table ip {name}\n"


def render(table: Table) -> str:
    """The table from nothing, replacing one of the same name."""
    lines = [remove(table.name) + f"table ip {table.name} {{"]
    for name, found in table.sets.items():
        lines.append(f"{found.keyword} {name} {{\ntype {found.type}")
        if found.interval:
            lines.append("flags interval")
        if found.elements:
            lines.append(f"elements = {{ {_listed(found.elements.items())} }}")
        lines.append("}")
    for name, statements in table.chains.items():
        lines += [f"chain {name} {{", *statements, "}"]
    return "\n".join([*lines, "}", ""])


def change(old: Table | None, new: Table) -> str:
    """What `nft -f` has to be told; empty when there is nothing to do."""
    if old is None or old._shape() != new._shape():
        return render(new)
    lines: list[str] = []
    for name, wanted in new.sets.items():
        before, after = old.sets[name].elements.items(), wanted.elements.items()
        gone, come = before - after, after - before
        if gone:
            lines.append(f"delete element ip {new.name} {name} {{ {_listed(gone)} }}")
        if come:
            lines.append(f"add element ip {new.name} {name} {{ {_listed(come)} }}")
    return "\n".join([*lines, ""]) if lines else ""


def _listed(elements: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key} : {value}" if value else key for key, value in elements)
