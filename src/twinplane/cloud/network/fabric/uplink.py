"""The host's own way out, which containers use: its default route, and what of the pool it reaches by other routes.

The kernel forwards the answers only when forwarding is on for the device that they come in by. Where the host had it
off, it is on for as long as some region needs it, `host` keeps everybody else's packets from being forwarded, and a
file below /run says so, for all regions and the next daemon.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from twinplane.cloud.network.contract import NAME_START
from twinplane.cloud.network.fabric import namespaces
from twinplane.edge import POOL

FORWARDING = "ipv4/conf/{}/forwarding"


@dataclass(frozen=True, slots=True)
class Uplink:
    device: str = ""
    """Of the default route; empty when the host has none."""
    switched_on: bool = False
    """Forwarding is on there because of Twinplane."""
    occupied: tuple[IPv4Network, ...] = ()
    """Networks of the pool that the host reaches in its own way."""


def read(run_dir: Path) -> Uplink:
    """Of the calling thread's namespace. Raises `CommandFailed`."""
    routes = json.loads(namespaces.run(["ip", "-4", "-j", "route", "show"]) or "[]")
    defaults = [found for found in routes if found.get("dst") == "default" and found.get("dev")]
    device = str(min(defaults, key=lambda found: found.get("metric", 0))["dev"]) if defaults else ""
    occupied = (
        IPv4Network(found["dst"])
        for found in routes
        if found.get("dst") != "default" and found.get("dev") and not found["dev"].startswith(NAME_START)
    )
    inside = tuple(network for network in occupied if network.subnet_of(POOL) and network != POOL)
    forwards = namespaces.read_setting(FORWARDING.format(device)) if device else ""
    return Uplink(device, forwards == "0" or device in _switched(run_dir), inside)


def switch_on(run_dir: Path, uplink: Uplink) -> None:
    """Before forwarding is set, so that it is switched off again whatever happens."""
    switched = _switched(run_dir)
    if uplink.switched_on and uplink.device not in switched:
        _file(run_dir).write_text(json.dumps([*switched, uplink.device]))


def restore(run_dir: Path) -> None:
    """In the calling thread's namespace: when no region of the host is left."""
    present = (device for device in _switched(run_dir) if namespaces.read_setting(FORWARDING.format(device)))
    namespaces.write_settings({FORWARDING.format(device): "0" for device in present})
    _file(run_dir).unlink(missing_ok=True)


def _switched(run_dir: Path) -> list[str]:
    try:
        loaded: list[str] = json.loads(_file(run_dir).read_text())
    except (FileNotFoundError, ValueError):
        return []
    return loaded


def _file(run_dir: Path) -> Path:
    return run_dir / "forwarding.json"
