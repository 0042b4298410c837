"""ipamd's state on the node's disk: a restarted agent knows whose address is whose, with or without the region.

Written as a whole, by rename, at each change (a few kilobytes). As `/var/run/aws-node/ipam.json` of the CNI, and the
interfaces with it, since the AWS API may be away at the next start.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from twinplane.dataplane.network.cni.interfaces import Network
from twinplane.dataplane.network.cni.pool import Interface, Limits, Owner, Pool

log = logging.getLogger(__name__)

VERSION = "twinplane-vpc-cni-ipam/1"


@dataclass(slots=True)
class Known:
    pool: Pool
    limits: Limits
    network: Network


def write(path: Path, known: Known) -> None:
    content = {
        "version": VERSION,
        "limits": known.limits,
        "network": known.network,
        "cooling": known.pool.cooling,
        "kept": known.pool.kept,
        "interfaces": list(known.pool.interfaces.values()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(orjson.dumps(content))
    os.replace(partial, path)


def read(path: Path) -> Known | None:
    """None when there is none, or none that can be read."""
    try:
        content = orjson.loads(path.read_bytes())
        if content["version"] != VERSION:
            return None
        interfaces = [_interface(item) for item in content["interfaces"]]
        network = content["network"]
        return Known(
            Pool({item.id: item for item in interfaces}, dict(content["cooling"]), _kept(content.get("kept") or {})),
            Limits(**content["limits"]),
            Network(tuple(network["vpc_cidrs"]), network["subnet_cidr"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("checkpoint %s cannot be read: %s", path, error)
        return None


def _interface(item: dict[str, Any]) -> Interface:
    addresses = {address: _owner(owner) for address, owner in item["addresses"].items()}
    return Interface(**(item | {"addresses": addresses}))


def _kept(items: dict[str, Any]) -> dict[str, tuple[str, float]]:
    return {address: (str(veth), float(until)) for address, (veth, until) in items.items()}


def _owner(item: dict[str, Any] | None) -> Owner | None:
    if item is None:
        return None
    ports = tuple((str(a), str(b), int(c), int(d)) for a, b, c, d in item["ports"])
    return Owner(**(item | {"ports": ports}))
