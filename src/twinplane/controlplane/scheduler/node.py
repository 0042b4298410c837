"""A node as the scheduler sees it: the facts of its object, and what the pods on it use.

The facts (`NodeFacts`) compare by value, so a heartbeat that changes nothing the scheduler reads is recognised and
ignored. `NodeState` adds the running sums; it knows nothing of other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from twinplane.controlplane.scheduler.resources import Amounts, amounts_of
from twinplane.controlplane.scheduler.shape import HostPort, Pod, PodShape, Taint
from twinplane.controlplane.scheduler.volumes import Disk
from twinplane.kubeclient.contract import Object

Key = TypeVar("Key")
UNSCHEDULABLE_TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool
    allocatable: Mapping[str, int]
    images: Mapping[str, int]
    """Image name -> size in bytes."""
    features: tuple[str, ...] = ()
    """Declared by the kubelet."""

    @property
    def pods_allowed(self) -> int:
        return self.allocatable.get("pods", 0)


def node_facts(body: Object) -> NodeFacts:
    spec = body.get("spec") or {}
    status = body.get("status") or {}
    images = {
        name: image.get("sizeBytes") or 0 for image in status.get("images") or () for name in image.get("names") or ()
    }
    return NodeFacts(
        name=body["metadata"]["name"],
        labels=body["metadata"].get("labels") or {},
        taints=tuple(Taint(item["key"], item.get("value") or "", item["effect"]) for item in spec.get("taints") or ()),
        unschedulable=bool(spec.get("unschedulable")),
        allocatable=amounts_of(status.get("allocatable")),
        images=images,
        features=tuple(status.get("declaredFeatures") or ()),
    )


@dataclass(slots=True, eq=False)
class NodeState:
    facts: NodeFacts
    order: float
    """The last tie-breaker: age, or a drawn lot where the snapshot was given randomness."""
    name: str = ""
    pods: dict[str, Pod] = field(default_factory=dict)
    """By uid, those promised to the node (assumed or nominated) included."""
    used: Amounts = field(default_factory=dict)
    scored_cpu: int = 0
    scored_memory: int = 0
    ports: dict[HostPort, int] = field(default_factory=dict)
    shapes: dict[PodShape, int] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    """Key of each claim that pods of the node use -> how many do."""
    disks: dict[Disk, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.facts.name

    def add(self, pod: Pod) -> None:
        self.pods[pod.uid] = pod
        self._count(pod.shape, 1)

    def remove(self, uid: str) -> Pod | None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self._count(pod.shape, -1)
        return pod

    def _count(self, shape: PodShape, sign: int) -> None:
        requests, used = shape.requests, self.used
        for name, amount in requests.amounts.items():
            used[name] = used.get(name, 0) + sign * amount
        self.scored_cpu += sign * requests.scored_cpu
        self.scored_memory += sign * requests.scored_memory
        count_into(self.shapes, shape, sign)
        for port in shape.host_ports:
            count_into(self.ports, port, sign)
        if shape.claims:
            for key in shape.claim_keys:
                count_into(self.claims, key, sign)
        for disk in shape.disks:
            count_into(self.disks, disk, sign)


def count_into(counts: dict[Key, int], key: Key, delta: int) -> None:
    """Add to a count and forget it at zero."""
    count = counts.get(key, 0) + delta
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)
