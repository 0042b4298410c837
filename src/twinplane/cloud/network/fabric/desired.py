"""What the planner wants of Linux and the applier makes: links, `ip` entries, settings and nft tables of a namespace.

Everything is the text that `ip -batch` and `nft -f` take, in one canonical spelling, so that what is wanted, what was
applied and what `ip -j` reports compare as strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from twinplane.cloud.network.fabric.nft import Table

Kind = Literal["addr", "neigh", "route", "rule"]


@dataclass(frozen=True, slots=True)
class Entry:
    """`key` is what a replacement has in common with what it replaces; `text` the whole of it."""

    kind: Kind
    key: str
    text: str

    @property
    def add(self) -> str:
        if self.kind == "neigh":
            return f"neigh replace {self.text} nud permanent"
        return f"{self.kind} {'add' if self.kind == 'rule' else 'replace'} {self.text}"

    @property
    def delete(self) -> str:
        return f"{self.kind} del {self.text}"


def address(cidr: str, device: str) -> Entry:
    text = f"{cidr} dev {device}"
    return Entry("addr", text, text)


def neighbour(ip: str, mac: str, device: str) -> Entry:
    return Entry("neigh", f"{ip} dev {device}", f"{ip} lladdr {mac} dev {device}")


def rule(preference: int, table: int, device: str = "") -> Entry:
    text = f"pref {preference} " + (f"iif {device} " if device else "") + f"lookup {table}"
    return Entry("rule", text, text)


def route(destination: str, table: int, *, device: str = "", via: str = "", source: str = "") -> Entry:
    """Without a device a black hole. `table` 0 is the main one; `via` is taken to be on the link."""
    if destination == "0.0.0.0/0":
        destination = "default"
    destination = destination.removesuffix("/32")
    key = f"{destination} table {table or 'main'}"
    text = key if device else f"blackhole {key}"
    text += f" via {via}" if via else ""
    text += f" dev {device}" if device else ""
    text += " onlink" if via else ""
    text += f" src {source}" if source else ""
    return Entry("route", key, text)


@dataclass(frozen=True, slots=True)
class Link:
    """A device of a namespace. `alias` is set on it when it is complete and says everything that it was made from: a
    link whose alias differs is made anew.

    `far` lines are run first in another namespace (None: the host's), where the pair of a veth is made from.
    """

    name: str
    alias: str
    lines: tuple[str, ...]
    far: tuple[str | None, tuple[str, ...]] | None = None
    mac: str = ""
    """Of a bridge port: the only hardware address behind it."""


@dataclass(frozen=True, slots=True)
class Network:
    links: Mapping[str, Link] = field(default_factory=dict)
    entries: frozenset[Entry] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Path below /proc/sys/net -> value."""
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    routers: Mapping[str, Network] = field(default_factory=dict)
    """By name of the namespace."""
    instances: Mapping[str, str] = field(default_factory=dict)
    """Instance id -> its namespace, which only has to exist: what is in it comes with the routers' links."""
    host: Network = Network()
