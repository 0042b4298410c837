"""Loopback aliases: an address of this host for every VPC address and port that a load balancer sends to.

Simulated nodes share one process that listens on one port of all of 127.0.0.0/8 and tells targets apart by the local
address that a connection was accepted on. The table is written to a file which that process reads again when it meets
an alias it does not know, so it must be on disk before Envoy hears of the alias.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

from twinplane.clock import Clock
from twinplane.cloud.contract import CloudState, Instance
from twinplane.cloud.loadbalancing.contract import SocketAddress, Target

POOL = IPv4Network("127.64.0.0/12")
RELEASE_AFTER = 300.0
"""Seconds that an alias outlives its target: connections that still drain must not reach somebody else."""


class VpcEndpoint(NamedTuple):
    vpc: str
    address: str
    port: int


def write_json(path: Path, content: object) -> None:
    """Atomically, so that a reader in another process sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(json.dumps(content, separators=(",", ":")))
    os.replace(staged, path)


def read_json(path: Path) -> dict[str, dict[str, object]]:
    """Empty when the file is absent or was damaged: everything in it can be handed out anew."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class AddressPool:
    """Hands out the addresses of a network in turn, so that one just given back is the last to come again."""

    def __init__(self, network: IPv4Network, taken: Collection[str]) -> None:
        self._network = network
        self._taken = {IPv4Address(address) for address in taken}
        self._cursor = int(max(self._taken, default=network.network_address))

    def take(self) -> str:
        first, last = int(self._network.network_address) + 1, int(self._network.broadcast_address) - 1
        for _ in range(last - first + 1):
            self._cursor = self._cursor + 1 if first <= self._cursor < last else first
            address = IPv4Address(self._cursor)
            if address not in self._taken:
                self._taken.add(address)
                return str(address)
        raise RuntimeError(f"all addresses of {self._network} are in use")

    def give_back(self, address: str) -> None:
        self._taken.discard(IPv4Address(address))


class Aliases:
    """The table, in memory and in its file."""

    def __init__(self, path: Path, clock: Clock, release_after: float = RELEASE_AFTER) -> None:
        self._path = path
        self._clock = clock
        self._release_after = release_after
        self._by_endpoint: dict[VpcEndpoint, str] = {}
        self._unused_since: dict[VpcEndpoint, float] = {}
        for alias, entry in read_json(path).items():
            endpoint = VpcEndpoint(str(entry["vpc"]), str(entry["address"]), int(str(entry["port"])))
            self._by_endpoint[endpoint] = alias
        self._pool = AddressPool(POOL, self._by_endpoint.values())
        self._changed = False

    def alias(self, endpoint: VpcEndpoint) -> str:
        alias = self._by_endpoint.get(endpoint)
        if alias is None:
            alias = self._by_endpoint[endpoint] = self._pool.take()
            self._changed = True
        return alias

    def retain(self, used: Collection[str]) -> None:
        """Tells which aliases load balancers still send to; the others are released when they stayed unused."""
        now = self._clock.now()
        for endpoint, alias in list(self._by_endpoint.items()):
            if alias in used:
                self._unused_since.pop(endpoint, None)
            elif now - self._unused_since.setdefault(endpoint, now) >= self._release_after:
                del self._by_endpoint[endpoint], self._unused_since[endpoint]
                self._pool.give_back(alias)
                self._changed = True

    def save(self) -> None:
        if self._changed:
            write_json(self._path, {alias: endpoint._asdict() for endpoint, alias in self._by_endpoint.items()})
            self._changed = False


class SimulatedReach:
    """`Reach` for simulated nodes: an alias of the target, at the port of the cluster's simulation process."""

    def __init__(self, state: CloudState, aliases: Aliases, endpoint_port: Callable[[str], int | None]) -> None:
        self._state = state
        self._aliases = aliases
        self._endpoint_port = endpoint_port
        self._by_id: dict[str, Instance] | None = None
        state.subscribe(self._forget)

    def _forget(self, _service: str) -> None:
        self._by_id = None

    def resolve(self, vpc_id: str, target: Target) -> list[SocketAddress]:
        is_instance = target.id.startswith("i-")
        instance = self._instance(target.id) if is_instance else self._state.instance_by_address(vpc_id, target.id)
        if instance is None or instance.state != "running":
            return []
        port = self._endpoint_port(instance.cluster) if instance.cluster else None
        if port is None:
            return []
        address = instance.private_ip if is_instance else target.id
        return [(self._aliases.alias(VpcEndpoint(instance.vpc_id, address, target.port)), port)]

    def _instance(self, instance_id: str) -> Instance | None:
        if self._by_id is None:
            self._by_id = {instance.instance_id: instance for instance in self._state.instances()}
        return self._by_id.get(instance_id)
