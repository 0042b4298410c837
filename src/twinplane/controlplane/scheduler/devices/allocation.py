"""Finds devices on one node for all claims of a pod that have none yet. Pure; a depth-first search that goes back.

As upstream's structured allocator: requests in their order, of alternatives (`firstAvailable`) the first that works,
devices in the order in which their pools list them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from twinplane.controlplane.scheduler.devices.facts import Device, DeviceClaim, Json, qualified, tolerations_of
from twinplane.controlplane.scheduler.devices.inventory import Inventory, Pool, consume
from twinplane.controlplane.scheduler.devices.selectors import SelectorFailed, all_hold
from twinplane.controlplane.scheduler.node import NodeFacts

RESULTS_MAX = 32
STEPS_MAX = 100_000
STEPS_ON_NODE_MAX = 10_000
"""Devices tried for one pod, in all and on one node, until the search is given up: some constraints have too many
combinations to look at. Upstream gives up after ten seconds a node; a count makes the same plan on every machine."""
HARD_EFFECTS = ("NoSchedule", "NoExecute")


class AllocationFailed(Exception):
    """Something is wrong with the claim, its class or a pool; the message is the condition's."""


class Patience:
    """How much may still be tried for a pod."""

    def __init__(self) -> None:
        self._left = STEPS_MAX
        self._left_on_node = STEPS_ON_NODE_MAX

    def next_node(self) -> None:
        self._left_on_node = min(STEPS_ON_NODE_MAX, self._left)

    def spend(self) -> None:
        """Raises `AllocationFailed` when there is none left."""
        if self._left_on_node <= 0:
            raise AllocationFailed("timed out trying to allocate devices")
        self._left_on_node -= 1
        self._left -= 1


class Request(NamedTuple):
    claim: DeviceClaim
    name: str
    """`REQUEST`, or `REQUEST/SUBREQUEST` of an alternative."""
    parent: str
    body: Json
    class_spec: Json

    @property
    def admin(self) -> bool:
        return bool(self.body.get("adminAccess"))


class Chosen(NamedTuple):
    request: Request
    device: Device


@dataclass
class Search:
    inventory: Inventory
    node: NodeFacts
    pools: list[tuple[Pool, list[Device]]]
    requests: list[list[Request]]
    """Every request with its alternatives."""
    patience: Patience
    chosen: list[Chosen] = field(default_factory=list)
    left: dict[int, dict[tuple[str, str], Fraction]] = field(default_factory=dict)
    """Position of a pool -> its counters."""

    def run(self, position: int = 0) -> bool:
        if position == len(self.requests):
            return True
        return any(self._take(position, request) for request in self.requests[position])

    def _take(self, position: int, request: Request) -> bool:
        if request.body.get("allocationMode") == "All":
            return self._take_all(position, request)
        return self._fill(position, request, request.body.get("count") or 1, [*self._suitable(request)])

    def _fill(self, position: int, request: Request, count: int, offered: Sequence[tuple[int, Device]]) -> bool:
        if count == 0:
            return self.run(position + 1)
        for number, (pool, device) in enumerate(offered):
            if len(offered) - number < count:
                return False
            if self._add(request, pool, device):
                if self._fill(position, request, count - 1, offered[number + 1 :]):
                    return True
                self._drop(pool)
        return False

    def _take_all(self, position: int, request: Request) -> bool:
        for pool, _ in self.pools:
            if not pool.complete:
                name = f"{pool.devices[0].id[0]}/{pool.devices[0].id[1]}"
                what = f"asks for all devices, but resource pool {name} is currently being updated"
                raise AllocationFailed(f"claim {request.claim.key}, request {request.name}: {what}")
        offered = [*self._suitable(request)]
        added: list[int] = []
        for pool_number, device in offered:
            if not self._add(request, pool_number, device):
                break
            added.append(pool_number)
        if offered and len(added) == len(offered) and self.run(position + 1):
            return True
        for pool_number in reversed(added):
            self._drop(pool_number)
        return False

    # One device -------------------------------------------------------------------------------------------------

    def _suitable(self, request: Request) -> list[tuple[int, Device]]:
        return [
            (number, device)
            for number, (pool, devices) in enumerate(self.pools)
            if pool.complete
            for device in devices
            if self._matches(request, device)
        ]

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
                raise AllocationFailed(f"{whose}: {error}") from None
        return True

    def _add(self, request: Request, pool: int, device: Device) -> bool:
        self.patience.spend()
        if not request.admin and (self.inventory.is_taken(device.id) or self._is_chosen(device)):
            return False
        tolerations = tolerations_of(request.body.get("tolerations") or ())
        if any(
            taint.effect in HARD_EFFECTS and not any(entry.tolerates(taint) for entry in tolerations)
            for taint in device.taints
        ):
            return False
        if not all(self._constrained(entry, request, device) for entry in request.claim.spec.get("constraints") or ()):
            return False
        if not request.admin and device.consumes:
            left = self.left.setdefault(pool, self.inventory.counters_left(self.pools[pool][0]))
            consume(left, device, -1)
            if any(left[counter_set, name] < 0 for counter_set, name, _ in device.consumes):
                consume(left, device, 1)
                return False
        self.chosen.append(Chosen(request, device))
        return True

    def _is_chosen(self, device: Device) -> bool:
        return any(entry.device is device and not entry.request.admin for entry in self.chosen)

    def _drop(self, pool: int) -> None:
        request, device = self.chosen.pop()
        if device.consumes and not request.admin:
            consume(self.left[pool], device, 1)

    def _constrained(self, constraint: Json, request: Request, device: Device) -> bool:
        """`matchAttribute`: all devices have the same value; `distinctAttribute`: each has another."""
        names = constraint.get("requests") or ()
        if names and request.name not in names and request.parent not in names:
            return True
        attribute = constraint.get("matchAttribute") or constraint.get("distinctAttribute") or ""
        value = _attribute(device, attribute)
        if value is None:
            return False
        others = [
            _attribute(entry.device, attribute)
            for entry in self.chosen
            if entry.request.claim is request.claim
            and (not names or entry.request.name in names or entry.request.parent in names)
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
    search = Search(inventory, node, list(inventory.reaching(node)), requests, patience)
    if not search.run():
        return None
    found: dict[str, Json] = {claim.key: _allocation(claim, search.chosen) for claim in claims}
    crowded = any(len(allocation["devices"].get("results") or ()) > RESULTS_MAX for allocation in found.values())
    return None if crowded else found


def _alternatives(claim: DeviceClaim, request: Json, inventory: Inventory) -> list[Request]:
    name = request["name"]
    single = request.get("exactly")
    bodies = (
        [(name, single)] if single else [(f"{name}/{sub['name']}", sub) for sub in request.get("firstAvailable") or ()]
    )
    return [
        Request(claim, full, name, body, inventory.classes.get(body.get("deviceClassName") or "") or {})
        for full, body in bodies
    ]


# What is written ----------------------------------------------------------------------------------------------------


def _allocation(claim: DeviceClaim, chosen: Sequence[Chosen]) -> dict[str, Any]:
    own = [entry for entry in chosen if entry.request.claim is claim]
    devices: dict[str, Any] = {"results": [_result(entry) for entry in own]}
    config = [*_class_config(own), *_claim_config(claim, own)]
    if config:
        devices["config"] = config
    selector = _node_selector([entry.device for entry in own])
    return {"devices": devices, **({"nodeSelector": selector} if selector else {})}


def _result(entry: Chosen) -> dict[str, Any]:
    request, (driver, pool, name) = entry.request, entry.device.id
    found: dict[str, Any] = {"request": request.name, "driver": driver, "pool": pool, "device": name}
    found |= {key: request.body[key] for key in ("adminAccess", "tolerations") if request.body.get(key)}
    return {**found, **entry.device.binding}


def _class_config(own: Sequence[Chosen]) -> list[dict[str, Any]]:
    requests: dict[str, dict[str, Json]] = {}
    for entry in own:
        requests.setdefault(entry.request.body["deviceClassName"], {})[entry.request.name] = entry.request.class_spec
    return [
        {"source": "FromClass", "requests": list(named), **config}
        for named in requests.values()
        for config in next(iter(named.values())).get("config") or ()
    ]


def _claim_config(claim: DeviceClaim, own: Sequence[Chosen]) -> list[dict[str, Any]]:
    names = {name for entry in own for name in (entry.request.name, entry.request.parent)}
    return [
        {"source": "FromClaim", **config}
        for config in claim.spec.get("config") or ()
        if not config.get("requests") or names & set(config["requests"])
    ]


def _node_selector(devices: Sequence[Device]) -> dict[str, Any] | None:
    """Nodes from which all of them can be used; None is all nodes."""
    term: dict[str, list[Json]] = {"matchFields": [], "matchExpressions": []}
    for device in devices:
        if device.reach.node:
            only = {"key": "metadata.name", "operator": "In", "values": [device.reach.node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for found in (device.reach.selector or {}).get("nodeSelectorTerms") or ():
            for kind, known in term.items():
                known += [entry for entry in found.get(kind) or () if entry not in known]
    term = {kind: entries for kind, entries in term.items() if entries}
    return {"nodeSelectorTerms": [term]} if term else None
