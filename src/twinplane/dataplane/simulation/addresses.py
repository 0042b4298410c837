"""The VPC CNI of every node: pod addresses are secondary private addresses of the node's network interfaces.

`AddressPool` is pure bookkeeping for one node (free, used, cooling down, as the CNI's ipamd keeps them); `Addresses`
fills the pools through the EC2 API, in batches and with a small warm reserve, gives idle addresses back, and attaches
further interfaces when the first is full, as the instance type allows. A subnet without addresses leaves pods waiting,
with the CNI's own message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree import ElementTree

from twinplane.clock import Clock
from twinplane.dataplane.aws import Aws, AwsError
from twinplane.dataplane.simulation.outbox import Outbox
from twinplane.dataplane.simulation.timers import Timers

log = logging.getLogger(__name__)

WARM_TARGET = 2
"""Addresses kept ready beyond what pods use, so that the next pod need not wait for EC2."""
BATCH_MAX = 14
COOLDOWN_SECONDS = 30.0
"""ipamd does not reuse an address before traffic to its old owner has died down."""
IDLE_SECONDS = 60.0
RETRY_SECONDS = 5.0
NO_ADDRESS = "failed to assign an IP address to container"


@dataclass(slots=True)
class Interface:
    interface_id: str
    capacity: int
    """Secondary addresses it may hold."""
    addresses: set[str] = field(default_factory=set)

    @property
    def room(self) -> int:
        return self.capacity - len(self.addresses)


@dataclass(slots=True)
class AddressPool:
    """One node's addresses. `waiting` holds uids of pods in the order in which they asked."""

    instance_id: str
    subnet_id: str
    interfaces_max: int
    per_interface: int
    interfaces: list[Interface] = field(default_factory=list)
    free: deque[str] = field(default_factory=deque)
    used: dict[str, str] = field(default_factory=dict)
    """uid -> address."""
    cooling: deque[tuple[float, str]] = field(default_factory=deque)
    waiting: dict[str, None] = field(default_factory=dict)
    known: bool = False
    """The interfaces were read from EC2 once."""

    def learn(self, interface_id: str, addresses: set[str]) -> None:
        """What EC2 says an interface has; addresses of pods that were claimed before stay theirs."""
        interface = next((item for item in self.interfaces if item.interface_id == interface_id), None)
        if interface is None:
            interface = Interface(interface_id, self.per_interface)
            self.interfaces.append(interface)
        taken = set(self.used.values()) | {address for _, address in self.cooling} | set(self.free)
        self.free.extend(sorted(addresses - interface.addresses - taken))
        interface.addresses |= addresses

    def claim(self, uid: str, address: str) -> None:
        """A pod that had its address before this process started."""
        self.used[uid] = address
        if address in self.free:
            self.free.remove(address)

    def take(self, uid: str) -> str | None:
        if uid in self.used:
            return self.used[uid]
        if not self.free:
            return None
        address = self.used[uid] = self.free.popleft()
        self.waiting.pop(uid, None)
        return address

    def give_back(self, uid: str, now: float) -> None:
        self.waiting.pop(uid, None)
        address = self.used.pop(uid, None)
        if address is not None:
            self.cooling.append((now + COOLDOWN_SECONDS, address))

    def thaw(self, now: float) -> None:
        while self.cooling and self.cooling[0][0] <= now:
            self.free.append(self.cooling.popleft()[1])

    @property
    def wanted(self) -> int:
        """How many more addresses there should be."""
        return max(0, len(self.waiting) + WARM_TARGET - len(self.free))

    @property
    def surplus(self) -> list[str]:
        return list(self.free)[2 * WARM_TARGET :] if not self.waiting else []

    def interface_of(self, address: str) -> Interface | None:
        return next((item for item in self.interfaces if address in item.addresses), None)

    def drop(self, addresses: list[str]) -> None:
        for address in addresses:
            interface = self.interface_of(address)
            if interface is not None:
                interface.addresses.discard(address)
            if address in self.free:
                self.free.remove(address)


Assigned = Callable[[str, str], None]
"""(uid, address)"""
Refused = Callable[[str, str], None]
"""(uid, why)"""


class Addresses:
    """All pools, keyed by node name. Callbacks come on the event loop."""

    def __init__(self, aws: Aws, clock: Clock, assigned: Assigned, refused: Refused) -> None:
        self._aws = aws
        self._clock = clock
        self._assigned = assigned
        self._refused = refused
        self._pools: dict[str, AddressPool] = {}
        self._outbox = Outbox("addresses", lambda key: self._fill(str(key)), workers=8)
        self._timers = Timers(clock, self._outbox.put)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run(), name="addresses")
            group.create_task(self._timers.run(), name="address timers")

    @property
    def idle(self) -> bool:
        """EC2 is not being asked for anything."""
        return self._outbox.idle

    def open(self, node: str, pool: AddressPool) -> None:
        """A node has booted. Reads what its interfaces hold and sets up the warm reserve."""
        before = self._pools.get(node)
        if before is not None:
            pool.used |= before.used
            pool.waiting |= before.waiting
        self._pools[node] = pool
        self._outbox.put(node)

    def close(self, node: str) -> None:
        """The instance is gone, and its addresses with it."""
        self._pools.pop(node, None)
        self._timers.cancel(node)

    def claim(self, node: str, uid: str, address: str) -> None:
        pool = self._pools.get(node)
        if pool is not None:
            pool.claim(uid, address)

    def request(self, node: str, uid: str) -> None:
        pool = self._pools.get(node)
        if pool is None:
            return
        pool.thaw(self._clock.now())
        address = pool.take(uid) if pool.known else None
        if address is None:
            pool.waiting[uid] = None
        else:
            self._assigned(uid, address)
        if pool.wanted:
            self._outbox.put(node)

    def release(self, node: str, uid: str) -> None:
        pool = self._pools.get(node)
        if pool is not None and (uid in pool.used or uid in pool.waiting):
            pool.give_back(uid, self._clock.now())
            self._timers.set(node, self._clock.now() + COOLDOWN_SECONDS + IDLE_SECONDS)
            if pool.waiting:
                self._timers.set(node, self._clock.now() + COOLDOWN_SECONDS)

    # -- EC2 -----------------------------------------------------------------------------------------------------

    async def _fill(self, node: str) -> None:
        pool = self._pools.get(node)
        if pool is None:
            return
        try:
            if not pool.known:
                await self._discover(pool)
            pool.thaw(self._clock.now())
            self._serve(pool)
            if pool.wanted:
                await self._grow(pool)
            elif pool.surplus:
                await self._shrink(pool)
        except AwsError as error:
            log.debug("addresses of %s: %s", node, error)
            self._timers.set(node, self._clock.now() + RETRY_SECONDS)
        self._serve(pool)
        if pool.waiting:
            for uid in list(pool.waiting):
                self._refused(uid, NO_ADDRESS)
            self._timers.set(node, self._clock.now() + RETRY_SECONDS)

    def _serve(self, pool: AddressPool) -> None:
        for uid in list(pool.waiting):
            address = pool.take(uid)
            if address is None:
                return
            self._assigned(uid, address)

    async def _discover(self, pool: AddressPool) -> None:
        answer = await self._aws.ec2(
            "DescribeNetworkInterfaces",
            {"Filter.1.Name": "attachment.instance-id", "Filter.1.Value.1": pool.instance_id},
        )
        for item in answer.findall("networkInterfaceSet/item"):
            pool.learn(item.findtext("networkInterfaceId") or "", _secondary(item))
        pool.known = True

    async def _grow(self, pool: AddressPool) -> None:
        for interface in pool.interfaces:
            count = min(pool.wanted, interface.room, BATCH_MAX)
            if count > 0:
                pool.learn(interface.interface_id, await self._assign(interface.interface_id, count))
        while pool.waiting and pool.wanted and len(pool.interfaces) < pool.interfaces_max:
            await self._attach(pool, min(pool.wanted, pool.per_interface, BATCH_MAX))

    async def _assign(self, interface_id: str, count: int) -> set[str]:
        answer = await self._aws.ec2(
            "AssignPrivateIpAddresses",
            {"NetworkInterfaceId": interface_id, "SecondaryPrivateIpAddressCount": str(count)},
        )
        assigned = answer.findall("assignedPrivateIpAddressesSet/assignedPrivateIpAddress")
        assigned += answer.findall("assignedPrivateIpAddressesSet/item")
        return {item.findtext("privateIpAddress") or "" for item in assigned}

    async def _attach(self, pool: AddressPool, count: int) -> None:
        answer = await self._aws.ec2(
            "CreateNetworkInterface",
            {
                "SubnetId": pool.subnet_id,
                "SecondaryPrivateIpAddressCount": str(count),
                "Description": f"aws-K8S-{pool.instance_id}",
            },
        )
        item = answer.find("networkInterface")
        if item is None:
            raise AwsError("InternalError", "CreateNetworkInterface answered without an interface")
        interface_id = item.findtext("networkInterfaceId") or ""
        await self._aws.ec2(
            "AttachNetworkInterface",
            {
                "NetworkInterfaceId": interface_id,
                "InstanceId": pool.instance_id,
                "DeviceIndex": str(len(pool.interfaces)),
            },
        )
        pool.learn(interface_id, _secondary(item))

    async def _shrink(self, pool: AddressPool) -> None:
        by_interface: dict[str, list[str]] = {}
        for address in pool.surplus:
            interface = pool.interface_of(address)
            if interface is not None:
                by_interface.setdefault(interface.interface_id, []).append(address)
        for interface_id, addresses in by_interface.items():
            # Out of the pool first: a pod that starts meanwhile must not get what is on its way out.
            pool.drop(addresses)
            named = {f"PrivateIpAddress.{place}": address for place, address in enumerate(addresses, 1)}
            await self._aws.ec2("UnassignPrivateIpAddresses", {"NetworkInterfaceId": interface_id, **named})


def _secondary(interface: ElementTree.Element) -> set[str]:
    return {
        item.findtext("privateIpAddress") or ""
        for item in interface.findall("privateIpAddressesSet/item")
        if item.findtext("primary") != "true"
    }
