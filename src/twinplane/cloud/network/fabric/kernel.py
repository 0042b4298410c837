"""What a namespace has now, in the canonical spelling of `desired`: asked after a restart, and now and then."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from twinplane.cloud.network.fabric import namespaces
from twinplane.cloud.network.fabric.desired import Entry, address, neighbour, route, rule
from twinplane.cloud.network.fabric.nft import Table

BUILT_IN_RULES = {0, 32766, 32767}


@dataclass(slots=True)
class Current:
    """Of one namespace. `links` are names -> aliases; an alias is empty when the link was never completed."""

    links: dict[str, str] = field(default_factory=dict)
    entries: set[Entry] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    table: Table | None = None
    """None when it is not known, which means that it is loaded again."""


def read(settings: Iterable[str], prefix: str = "") -> Current:
    """Of the calling thread's namespace; with `prefix` only the devices of that name and what is on them."""
    links = [found for found in _json("link") if found["ifname"] != "lo" and found["ifname"].startswith(prefix)]
    names = {found["ifname"] for found in links}
    up = {found["ifname"]: found.get("ifalias", "") for found in links if "UP" in found["flags"]}
    entries = set(_addresses(_json("addr"), names))
    for found in _json("neigh", "show", "nud", "permanent"):
        if found["dev"] in names and "lladdr" in found and ":" not in found["dst"]:
            entries.add(neighbour(found["dst"], found["lladdr"], found["dev"]))
    entries.update(_routes(_json("route", "show", "table", "all"), names, everything=not prefix))
    if not prefix:
        for found in _json("rule"):
            if found["priority"] not in BUILT_IN_RULES:
                entries.add(rule(found["priority"], int(found["table"]), found.get("iif", "")))
    return Current(
        {name: up.get(name, "") for name in names},
        entries,
        {path: namespaces.read_setting(path) for path in settings},
    )


def _json(*arguments: str) -> list[dict[str, Any]]:
    answer = namespaces.run(["ip", "-4", "-j", *arguments])
    loaded: list[dict[str, Any]] = json.loads(answer or "[]")
    return [found for found in loaded if found]


def _addresses(devices: list[dict[str, Any]], names: set[str]) -> Iterable[Entry]:
    for device in devices:
        if device.get("ifname") in names:
            for found in device.get("addr_info", []):
                yield address(f"{found['local']}/{found['prefixlen']}", device["ifname"])


def _routes(routes: list[dict[str, Any]], devices: set[str], *, everything: bool) -> Iterable[Entry]:
    """Without those that the kernel makes by itself."""
    for found in routes:
        if found.get("protocol") == "kernel" or found.get("type", "unicast") not in ("unicast", "blackhole"):
            continue
        device, table = found.get("dev", ""), found.get("table", "0")
        if device in devices or (everything and not device):
            yield route(
                found["dst"],
                0 if table == "main" else int(table),
                device=device,
                via=found.get("gateway", ""),
                source=found.get("prefsrc", ""),
            )
