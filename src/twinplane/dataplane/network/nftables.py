"""nftables tables as data: what there is, what there should be, and the one atomic transaction between them.

For kube-proxy, NetworkPolicy and the VPC CNI, each with a table of its own. A `Ruleset` is compared with the next one
by content, so a change of one endpoint is a transaction of a few lines. `nft -f -` is run for each: it takes 5 ms, and
its memory is its own. (nft 1.0.6 reads no elements back for such changes, so the size of the table does not matter.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

ELEMENTS_A_LINE = 500


class NftablesError(Exception):
    """nft refused a transaction; nothing of it was applied."""


@dataclass(frozen=True, slots=True)
class Chain:
    rules: tuple[str, ...]
    hook: str = ""
    """`type nat hook output priority -100` of a base chain."""


@dataclass(slots=True)
class Set:
    """A set or map. Elements are key -> value, with an empty value in sets."""

    declaration: str
    """`type ipv4_addr; flags interval`."""
    kind: str = "set"
    elements: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Ruleset:
    """Content of one table of family `ip`."""

    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)


@dataclass(slots=True)
class Change:
    """What one transaction does. Values: chains and sets by name, None for what goes; elements by set and key."""

    chains: dict[str, Chain | None] = field(default_factory=dict)
    known_chains: set[str] = field(default_factory=set)
    """Chains of `chains` that exist already."""
    sets: dict[str, Set | None] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    added: dict[str, dict[str, str]] = field(default_factory=dict)

    def element(self, name: str, key: str, old: str | None, new: str | None) -> None:
        if old == new:
            return
        if old is not None:
            self.removed.setdefault(name, []).append(key)
        if new is not None:
            self.added.setdefault(name, {})[key] = new

    def chain(self, name: str, old: Chain | None, new: Chain | None) -> None:
        if old != new:
            self.chains[name] = new
            if old is not None:
                self.known_chains.add(name)

    def __bool__(self) -> bool:
        return bool(self.chains or self.sets or self.removed or self.added)


def difference(old: Ruleset, new: Ruleset) -> Change:
    change = Change()
    for name in old.chains.keys() | new.chains.keys():
        change.chain(name, old.chains.get(name), new.chains.get(name))
    for name in old.sets.keys() | new.sets.keys():
        before, after = old.sets.get(name), new.sets.get(name)
        if before is None or after is None:
            change.sets[name] = after
        # Elements of what goes are deleted too: their verdicts may hold chains that go before it.
        had = before.elements if before is not None else {}
        has = after.elements if after is not None else {}
        for key in had.keys() | has.keys():
            change.element(name, key, had.get(key), has.get(key))
    return change


def transaction(table: str, change: Change) -> str:
    """Order: what is referred to before what refers to it, and the other way round for what goes."""
    lines = [f"add {item.kind} {table} {name} {{ {item.declaration}; }}" for name, item in change.sets.items() if item]
    for name, chain in change.chains.items():
        if chain is None or name in change.known_chains:
            # Also of what goes: its rules may refer to what is deleted before it.
            lines.append(f"flush chain {table} {name}")
        else:
            lines.append(f"add chain {table} {name}" + (f" {{ {chain.hook}; }}" if chain.hook else ""))
    for name, chain in change.chains.items():
        if chain is not None:
            lines += [f"add rule {table} {name} {rule}" for rule in chain.rules]
    for name, keys in change.removed.items():
        lines += [f"delete element {table} {name} {{ {part} }}" for part in _parts(keys)]
    for name, elements in change.added.items():
        written = (f"{key} : {value}" if value else key for key, value in elements.items())
        lines += [f"add element {table} {name} {{ {part} }}" for part in _parts(written)]
    lines += [f"delete chain {table} {name}" for name, chain in change.chains.items() if chain is None]
    # By this word nft deletes maps as well.
    lines += [f"delete set {table} {name}" for name, item in change.sets.items() if item is None]
    return "\n".join(lines) + "\n"


def replacement(table: str, ruleset: Ruleset) -> str:
    """The whole table anew, whatever was there: for a start."""
    return f"add table {table}\ndelete table {table}\nadd table {table}\n" + transaction(
        table, difference(Ruleset(), ruleset)
    )


def _parts(elements: Iterable[str]) -> Iterator[str]:
    part: list[str] = []
    for element in elements:
        part.append(element)
        if len(part) == ELEMENTS_A_LINE:
            yield ", ".join(part)
            part.clear()
    if part:
        yield ", ".join(part)


async def apply(script: str) -> None:
    """In this process's network namespace, all or nothing. Raises `NftablesError`."""
    process = await asyncio.create_subprocess_exec(
        "nft", "-f", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = await process.communicate(script.encode())
    except asyncio.CancelledError:
        # An unfinished transaction is none: nft commits with its last message.
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        raise NftablesError(errors.decode(errors="replace").strip()[:2000])
