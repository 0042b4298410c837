"""ResourceClaims, DeviceClasses and the devices of ResourceSlices, as far as allocation reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from twinplane.controlplane.scheduler.devices.capacity import Capacity, capacity_of
from twinplane.controlplane.scheduler.node import NodeFacts
from twinplane.controlplane.scheduler.requirements import NodeTerm, node_term
from twinplane.controlplane.scheduler.shape import Taint, Toleration
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import EXTENDED_CLAIM, DeviceId
from twinplane.kubeclient.meta import annotations_of, controller_of

Json = Mapping[str, Any]


class Reach(NamedTuple):
    """The nodes from which a device can be used."""

    node: str = ""
    selector: Json | None = None
    terms: tuple[NodeTerm, ...] = ()
    everywhere: bool = False

    def covers(self, facts: NodeFacts) -> bool:
        if self.everywhere or self.node:
            return self.everywhere or self.node == facts.name
        return any(term.holds(facts.labels, facts.name) for term in self.terms)


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    id: DeviceId
    attributes: Mapping[str, Json]
    """`domain/name` -> one of int, bool, string, version."""
    capacities: Mapping[str, Capacity]
    """By name as the slice has it."""
    taints: tuple[Taint, ...]
    """Its own, and those of DeviceTaintRules."""
    consumes: tuple[tuple[str, str, Fraction], ...]
    """Counter set, counter, how much."""
    reach: Reach
    shared: bool
    """Several claims may use it at a time."""
    binding: Json
    """`bindingConditions` and `bindingFailureConditions`: what the driver says before the pod may be bound."""
    binds_to_node: bool
    """Once it is given away it belongs to the node of the pod, wherever it could have been used before."""
    matches: dict[str, bool] = field(default_factory=dict)
    """Expression -> what it said of this device, which never changes."""


@dataclass(frozen=True, slots=True)
class DeviceClaim:
    key: str
    """NAMESPACE/NAME."""
    uid: str
    deleting: bool
    owner: str
    """uid of the pod that it was made for."""
    spec: Json
    """`spec.devices`."""
    allocation: Json | None
    reserved: tuple[str, ...]
    """uids of its consumers."""
    conditions: tuple[Json, ...]
    """`status.devices`."""
    extended: bool = False
    """The scheduler made it, for the extended resources of `owner`."""

    @property
    def reach(self) -> tuple[NodeTerm, ...] | None:
        """Where the devices that it has can be used; None is everywhere."""
        return terms_of((self.allocation or {}).get("nodeSelector"))

    def reaches(self, facts: NodeFacts) -> bool:
        terms = self.reach
        return terms is None or any(term.holds(facts.labels, facts.name) for term in terms)


def terms_of(selector: Json | None) -> tuple[NodeTerm, ...] | None:
    return None if not selector else tuple(node_term(term) for term in selector.get("nodeSelectorTerms") or ())


def claim_of(body: Object) -> DeviceClaim:
    metadata, status = body["metadata"], body.get("status") or {}
    owner = controller_of(body)
    return DeviceClaim(
        key=f"{metadata['namespace']}/{metadata['name']}",
        uid=metadata.get("uid", ""),
        deleting="deletionTimestamp" in metadata,
        owner=owner["uid"] if owner is not None and owner["kind"] == "Pod" else "",
        spec=(body.get("spec") or {}).get("devices") or {},
        allocation=status.get("allocation"),
        reserved=tuple(entry["uid"] for entry in status.get("reservedFor") or ()),
        conditions=tuple(status.get("devices") or ()),
        extended=annotations_of(body).get(EXTENDED_CLAIM) == "true",
    )


def devices_of(spec: Json, rules: Iterable[Json] = ()) -> list[Device]:
    """Of a ResourceSlice's spec; `rules` are specs of DeviceTaintRules."""
    driver, pool = spec["driver"], spec["pool"]["name"]
    common = None if spec.get("perDeviceNodeSelection") else reach_of(spec)
    near = [rule for rule in rules if selects(rule, driver=driver, pool=pool)]
    return [_device(entry, driver, pool, common, near) for entry in spec.get("devices") or ()]


def selects(rule: Json, **names: str) -> bool:
    """Whether a DeviceTaintRule may select what has these names (`driver`, `pool`, `device`)."""
    selector = rule.get("deviceSelector")
    return selector is not None and all(selector.get(field) in (None, name) for field, name in names.items())


def _device(entry: Json, driver: str, pool: str, common: Reach | None, rules: Iterable[Json]) -> Device:
    taints = [*(entry.get("taints") or ()), *(rule["taint"] for rule in rules if selects(rule, device=entry["name"]))]
    return Device(
        id=(driver, pool, entry["name"]),
        attributes={qualified(name, driver): value for name, value in (entry.get("attributes") or {}).items() if value},
        capacities={name: capacity_of(item) for name, item in (entry.get("capacity") or {}).items()},
        taints=tuple(Taint(item["key"], item.get("value") or "", item["effect"]) for item in taints),
        consumes=tuple(
            (item["counterSet"], name, Fraction(quantity.parse(str(counter.get("value") or "0"))))
            for item in entry.get("consumesCounters") or ()
            for name, counter in item["counters"].items()
        ),
        reach=common if common is not None else reach_of(entry),
        shared=bool(entry.get("allowMultipleAllocations")),
        binding={key: entry[key] for key in ("bindingConditions", "bindingFailureConditions") if entry.get(key)},
        binds_to_node=bool(entry.get("bindsToNode")),
    )


def reach_of(body: Json) -> Reach:
    selector = body.get("nodeSelector")
    return Reach(body.get("nodeName") or "", selector, terms_of(selector) or (), bool(body.get("allNodes")))


def qualified(name: str, driver: str) -> str:
    """Names without a domain are the driver's."""
    return name if "/" in name else f"{driver}/{name}"


def tolerations_of(items: Iterable[Json]) -> list[Toleration]:
    return [
        Toleration(
            item.get("key") or "", item.get("operator") or "Equal", item.get("value") or "", item.get("effect") or ""
        )
        for item in items
    ]
