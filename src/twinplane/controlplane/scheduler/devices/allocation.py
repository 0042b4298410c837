"""Finds devices on one node for all claims of a pod that have none yet. Pure; a depth-first search that goes back.

As upstream's structured allocator: requests in their order, of alternatives (`firstAvailable`) the first that works,
devices in the order in which their pools list them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.capacity import Amounts, count, fits, taken_of
from twinplane.controlplane.scheduler.devices.facts import Device, DeviceClaim, Json, qualified, tolerations_of
from twinplane.controlplane.scheduler.devices.inventory import Counters, Inventory, consume
from twinplane.controlplane.scheduler.devices.pools import Nearby
from twinplane.controlplane.scheduler.devices.results import RESULTS_MAX, Chosen, Request, allocation_of
from twinplane.controlplane.scheduler.devices.selectors import SelectorFailed, all_hold
from twinplane.controlplane.scheduler.node import NodeFacts
from twinplane.kubeclient.device_claims import DeviceId

STEPS_MAX = 100_000
STEPS_ON_NODE_MAX = 10_000
"""Devices tried for one pod, in all and on one node, until the search is given up: some constraints have too many
combinations to look at. Upstream gives up after ten seconds a node; a count makes the same plan on every machine."""
HARD_EFFECTS = ("NoSchedule", "NoExecute")


class AllocationFailed(Exception):
    """Something is wrong with a pool that the node sees; the message is the condition's."""


class AllocationError(AllocationFailed):
    """Something is wrong with the claim or its class: no node will do."""


class Patience:
    """How much may still be tried for a pod."""

    def __init__(self) -> None:
        self._left = STEPS_MAX
        self._left_on_node = STEPS_ON_NODE_MAX

    def next_node(self) -> None:
        self._left_on_node = min(STEPS_ON_NODE_MAX, self._left)

    def spend(self) -> None:
        """Raises `AllocationError` when there is none left."""
        if self._left_on_node <= 0:
            raise AllocationError("timed out trying to allocate devices")
        self._left_on_node -= 1
        self._left -= 1


class Offer(NamedTuple):
    """A device that a request may have, and what it would take of the device's capacity."""

    pool: int
    device: Device
    taken: dict[str, str]


class Offers:
    """What suits a request, worked out as far as it is looked at: devices that are not needed are not judged."""

    def __init__(self, suitable: Iterator[Offer]) -> None:
        self._suitable = suitable
        self._found: list[Offer] = []

    def at(self, position: int) -> Offer | None:
        while len(self._found) <= position:
            found = next(self._suitable, None)
            if found is None:
                return None
            self._found.append(found)
        return self._found[position]

    def count(self) -> int:
        self._found += self._suitable
        return len(self._found)


@dataclass
class Search:
    inventory: Inventory
    pools: list[Nearby]
    requests: list[list[Request]]
    """Every request with its alternatives."""
    patience: Patience
    chosen: list[Chosen] = field(default_factory=list)
    left: dict[int, Counters] = field(default_factory=dict)
    """Position of a pool -> its counters."""
    consumed: dict[DeviceId, Amounts] = field(default_factory=dict)
    """By what is chosen, of devices that are shared."""
    offers: dict[Request, Offers] = field(default_factory=dict)

    def run(self, position: int = 0) -> bool:
        if position == len(self.requests):
            return True
        return any(self._take(position, request) for request in self.requests[position])

    def check(self, claim: DeviceClaim) -> None:
        """Raises `AllocationError` for what no choice of devices could mend."""
        least = 0
        for alternatives in self.requests:
            if alternatives and alternatives[0].claim is claim:
                least += min(self._count(request) for request in alternatives)
        if least > RESULTS_MAX:
            asked = f"number of requested devices {least} exceeds the claim limit of {RESULTS_MAX}"
            raise AllocationError(f"claim {claim.key}: {asked}")

    def _count(self, request: Request) -> int:
        if not request.all:
            return request.count
        for pool in self.pools:
            problem = "being updated" if not pool.complete else "" if pool.valid else "invalid"
            if problem:
                what = f"asks for all devices, but resource pool {'/'.join(pool.pool.id)} is currently {problem}"
                raise AllocationError(f"claim {request.claim.key}, request {request.name}: {what}")
        return self._offered(request).count()

    def _take(self, position: int, request: Request) -> bool:
        offered = self._offered(request)
        count = offered.count() if request.all else request.count
        if not count or sum(entry.request.claim is request.claim for entry in self.chosen) + count > RESULTS_MAX:
            return False
        return self._fill(position, request, count, offered)

    def _fill(self, position: int, request: Request, count: int, offered: Offers, start: int = 0) -> bool:
        """The next `count` devices from `start` on."""
        if count == 0:
            return self.run(position + 1)
        number = start
        while (offer := offered.at(number)) is not None:
            number += 1
            if self._add(request, offer):
                if self._fill(position, request, count - 1, offered, number):
                    return True
                self._drop()
            elif request.all:
                return False
        return False

    # One device -------------------------------------------------------------------------------------------------

    def _offered(self, request: Request) -> Offers:
        found = self.offers.get(request)
        if found is None:
            found = self.offers[request] = Offers(self._suitable(request))
        return found

    def _suitable(self, request: Request) -> Iterator[Offer]:
        for number, pool in enumerate(self.pools):
            if not pool.complete or not pool.valid:
                continue
            for device in pool.devices:
                if not request.all and not request.admin and self._is_gone(device):
                    continue
                if self._matches(request, device):
                    taken = self._taken(request, device)
                    if taken is not None:
                        yield Offer(number, device, taken)

    def _is_gone(self, device: Device) -> bool:
        """Somebody has it, and it is not for sharing (any more, or yet)."""
        inventory = self.inventory
        return inventory.is_taken(device.id) or (not device.shared and inventory.is_shared(device.id))

    def _taken(self, request: Request, device: Device) -> dict[str, str] | None:
        """Of the device's capacity; None when that is not to be had of it."""
        if not device.shared and not request.capacity:
            return {}
        taken = taken_of(device.capacities, request.capacity)
        fitting = taken is not None and fits(device.capacities, taken, self.inventory.consumed(device.id))
        return taken if fitting else None

    @staticmethod
    def _matches(request: Request, device: Device) -> bool:
        for whose, selectors in (
            (f"class {request.body['deviceClassName']}", request.class_spec.get("selectors") or []),
            (f"claim {request.claim.key}", request.body.get("selectors") or []),
        ):
            try:
                if not all_hold(selectors, device):
                    return False
            except SelectorFailed as error:
                raise AllocationError(f"{whose}: {error}") from None
        return True

    def _add(self, request: Request, offer: Offer) -> bool:
        self.patience.spend()
        device = offer.device
        if not self._is_free(request, offer):
            return False
        tolerations = tolerations_of(request.body.get("tolerations") or ())
        if any(
            taint.effect in HARD_EFFECTS and not any(entry.tolerates(taint) for entry in tolerations)
            for taint in device.taints
        ):
            return False
        counted = bool(device.consumes) and not (device.shared and self._has_shares(device))
        if counted and not self._has_counters(offer):
            return False
        if not all(self._constrained(entry, request, device) for entry in request.claim.spec.get("constraints") or ()):
            if request.all:
                what = "because a claim constraint would not be satisfied"
                name = request.name.rpartition("/")[2]
                where = f"claim {request.claim.key}, request {name}"
                raise AllocationError(f"{where}: cannot add device {'/'.join(device.id)} {what}")
            return False
        if counted:
            consume(self.left[offer.pool], device, -1)
        if device.shared:
            count(self.consumed.setdefault(device.id, {}), offer.taken, 1)
        self.chosen.append(Chosen(request, device, offer.taken, offer.pool if counted else None))
        return True

    def _drop(self) -> None:
        last = self.chosen.pop()
        if last.counted_in is not None:
            consume(self.left[last.counted_in], last.device, 1)
        if last.device.shared:
            count(self.consumed[last.device.id], last.taken, -1)

    def _is_free(self, request: Request, offer: Offer) -> bool:
        device = offer.device
        if device.shared:
            # Admin access does not count what others have.
            before = dict(self.consumed.get(device.id) or {})
            count(before, self.inventory.consumed(device.id), 1)
            gone = not request.admin and self._is_gone(device)
            return not gone and fits(device.capacities, offer.taken, before)
        if request.admin:
            return not any(entry.device is device and entry.request.claim is request.claim for entry in self.chosen)
        return not self._is_gone(device) and not any(entry.device is device for entry in self.chosen)

    def _has_shares(self, device: Device) -> bool:
        return self.inventory.is_shared(device.id) or any(entry.device is device for entry in self.chosen)

    def _has_counters(self, offer: Offer) -> bool:
        if offer.pool not in self.left:
            pool = self.pools[offer.pool].pool
            self.left[offer.pool] = self.inventory.counters_left(pool.devices, pool.counters)
        left = self.left[offer.pool]
        return all(left[group, name] >= amount for group, name, amount in offer.device.consumes)

    def _constrained(self, constraint: Json, request: Request, device: Device) -> bool:
        """`matchAttribute`: all devices have the same value; `distinctAttribute`: each has another."""
        names = constraint.get("requests") or ()
        if not request.is_among(names):
            return True
        attribute = constraint.get("matchAttribute") or constraint.get("distinctAttribute") or ""
        value = _attribute(device, attribute)
        if value is None:
            return False
        others = [
            _attribute(entry.device, attribute)
            for entry in self.chosen
            if entry.request.claim is request.claim and entry.request.is_among(names)
        ]
        if constraint.get("matchAttribute"):
            return all(other == value for other in others)
        return value not in others


def _attribute(device: Device, name: str) -> Json | None:
    return device.attributes.get(qualified(name, device.id[0]))


def allocate(
    claims: Sequence[DeviceClaim], node: NodeFacts, inventory: Inventory, patience: Patience
) -> dict[str, Json] | None:
    """Claim key -> its `status.allocation`; None when the node has too little. Raises `AllocationFailed`.

    `patience` is one for all nodes that a pod is tried on.
    """
    patience.next_node()
    requests = [
        _alternatives(claim, request, inventory) for claim in claims for request in claim.spec.get("requests") or ()
    ]
    search = Search(inventory, inventory.near(node), requests, patience)
    for claim in claims:
        search.check(claim)
    if not search.run():
        if not all(pool.valid for pool in search.pools):
            raise AllocationFailed("invalid resource pools were encountered")
        return None
    return {
        claim.key: allocation_of(claim, [entry for entry in search.chosen if entry.request.claim is claim], node.name)
        for claim in claims
    }


def _alternatives(claim: DeviceClaim, request: Json, inventory: Inventory) -> list[Request]:
    name = request["name"]
    single = request.get("exactly")
    bodies = (
        [(name, single)] if single else [(f"{name}/{sub['name']}", sub) for sub in request.get("firstAvailable") or ()]
    )
    return [
        Request(claim, full, name, body, inventory.class_spec(body.get("deviceClassName") or ""))
        for full, body in bodies
    ]
