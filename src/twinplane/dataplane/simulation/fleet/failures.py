"""Failures as data: which nodes or pods, what is wrong with them, from when to when. Pure.

A failure is in effect while `begins <= now < ends`; nothing is remembered, so when it is over it is over. Who is hit is
decided by names, labels and a share that is drawn from a hash: the same nodes every time, after a restart too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet

SLOW_FACTOR = 10.0
FLAP_SECONDS = 60.0

_CONDITION = re.compile(r"[A-Za-z]([-A-Za-z0-9_./]{0,120}[A-Za-z0-9])?")
STATUSES = ("True", "False", "Unknown")
_PLAIN = (
    "group",
    "zone",
    "share",
    "namespace",
    "period",
    "factor",
    "type",
    "status",
    "reason",
    "message",
    "resource",
    "injected",
)

BAD_CONDITIONS = {
    "Ready": (
        "KubeletNotReady",
        "PLEG is not healthy: pleg was last seen active 3m0s ago; threshold is 3m0s",
    ),
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    "NetworkUnavailable": ("NoRouteCreated", "Node created without a route"),
}
"""Condition -> (reason, message) when it is bad; other types are their own reason."""

KINDS: dict[str, tuple[str, str]] = {
    "nodeLoss": ("node", "the nodes fall silent: no heartbeat, no status, nothing answers"),
    "zoneLoss": ("node", "all nodes of a zone fall silent"),
    "flapping": ("node", "the nodes report NotReady for half of every period"),
    "slowStart": ("pod", "sandboxes, image pulls and starts take `factor` times as long"),
    "nodeCondition": ("node", "the nodes report a condition: `type`, `status`, `reason`, `message`"),
    "crashLoop": ("pod", "containers exit with code 1 over and over"),
    "imagePullError": ("pod", "no image can be pulled that the node does not have"),
    "eviction": ("pod", "the kubelet evicts the pods, for want of `resource`"),
}
"""Kind -> (what it hits, what happens)."""


class NodeCondition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


class NodeFault(NamedTuple):
    silent: bool = False
    conditions: tuple[NodeCondition, ...] = ()
    """In place of what a node that is well reports."""

    @property
    def ready(self) -> str:
        """The status of the condition Ready."""
        return next((item.status for item in self.conditions if item.type == "Ready"), "True")


class PodFault(NamedTuple):
    crash: bool = False
    pull_error: bool = False
    slow: float = 1.0
    evicted: str = ""
    """The resource that ran out."""


NO_NODE_FAULT = NodeFault()
NO_POD_FAULT = PodFault()


class NodeFacts(NamedTuple):
    name: str
    fleet: str
    group: str
    zone: str


class PodFacts(NamedTuple):
    namespace: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """`begins` and `ends` in seconds: of the clock, or since the file was applied while it is still in the file."""

    kind: str
    begins: float
    ends: float
    group: str = ""
    zone: str = ""
    nodes: tuple[str, ...] = ()
    share: float = 1.0
    namespace: str = ""
    selector: tuple[tuple[str, str], ...] = ()
    period: float = FLAP_SECONDS
    factor: float = SLOW_FACTOR
    type: str = "Ready"
    """Of the condition that nodes report."""
    status: str = ""
    """Empty for the bad one: False for Ready, True for all others."""
    reason: str = ""
    message: str = ""
    resource: str = "memory"
    """What pods are evicted for."""
    injected: bool = False
    """Not of the fleet file: it stays when the file is applied again."""

    @property
    def condition(self) -> NodeCondition:
        reason, message = BAD_CONDITIONS.get(self.type, (self.type, ""))
        bad = "False" if self.type == "Ready" else "True"
        return NodeCondition(self.type, self.status or bad, self.reason or reason, self.message or message)

    def active(self, now: float) -> bool:
        return self.begins <= now < self.ends

    def at(self, origin: float) -> Failure:
        return replace(self, begins=self.begins + origin, ends=self.ends + origin)

    def hits_node(self, node: NodeFacts) -> bool:
        return self._covers(node) and self._draws(node.name)

    def hits_pod(self, pod: PodFacts, node: NodeFacts) -> bool:
        return (
            (not self.namespace or self.namespace == pod.namespace)
            and all(pod.labels.get(key) == value for key, value in self.selector)
            and self._covers(node)
            and self._draws(f"{pod.namespace}/{pod.name}")
        )

    def _covers(self, node: NodeFacts) -> bool:
        return (
            (not self.group or self.group == node.group)
            and (not self.zone or self.zone == node.zone)
            and (not self.nodes or node.name in self.nodes)
        )

    def _draws(self, name: str) -> bool:
        return self.share >= 1 or drawn(f"{self.kind}/{name}") < self.share

    def down(self, now: float) -> bool:
        """Whether a flapping node is in the bad half of its period."""
        return (now - self.begins) % self.period < self.period / 2


def drawn(text: str) -> float:
    """Between 0 and 1, always the same for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / (1 << 48)


def node_fault(failures: Iterable[Failure], node: NodeFacts, now: float) -> NodeFault:
    silent = False
    conditions: dict[str, NodeCondition] = {}
    for failure in failures:
        if KINDS[failure.kind][0] == "node" and failure.active(now) and failure.hits_node(node):
            if failure.kind not in ("flapping", "nodeCondition"):
                silent = True
            elif failure.kind == "nodeCondition" or failure.down(now):
                conditions[failure.condition.type] = failure.condition
    return NodeFault(silent, tuple(conditions.values())) if silent or conditions else NO_NODE_FAULT


def pod_fault(failures: Iterable[Failure], pod: PodFacts, node: NodeFacts, now: float) -> PodFault:
    fault = NO_POD_FAULT
    for failure in failures:
        if KINDS[failure.kind][0] != "pod" or not failure.active(now):
            continue
        if failure.hits_pod(pod, node):
            if failure.kind == "slowStart":
                fault = fault._replace(slow=max(fault.slow, failure.factor))
            elif failure.kind == "crashLoop":
                fault = fault._replace(crash=True)
            elif failure.kind == "eviction":
                fault = fault._replace(evicted=failure.resource)
            else:
                fault = fault._replace(pull_error=True)
    return fault


def next_change(failures: Iterable[Failure], now: float) -> float | None:
    """When the answers above may be others: a beginning, an end, a turn of a flapping node."""
    moments: list[float] = []
    for failure in failures:
        moments += [moment for moment in (failure.begins, failure.ends) if moment > now]
        if failure.kind == "flapping" and failure.active(now):
            half = failure.period / 2
            moments.append(failure.begins + half * (int((now - failure.begins) / half) + 1))
    return min(moments, default=None)


def read_failure(value: object, place: str) -> Failure:
    """As in a fleet file: `after` (default 0) and `for`. Raises `InvalidFleet`."""
    fields = Fields(value, place)
    after = fields.given("after", document.duration, 0.0)
    lasts = fields.take("for", document.duration)
    return _read(fields, after, after + lasts)


def _read(fields: Fields, begins: float, ends: float, *, kept: bool = False) -> Failure:
    failure = Failure(
        kind=fields.take("kind", document.one_of(*KINDS)),
        begins=begins,
        ends=ends,
        group=fields.given("group", document.text, ""),
        zone=fields.given("zone", document.text, ""),
        nodes=fields.given("nodes", document.texts, ()),
        share=fields.given("share", document.share, 1.0),
        namespace=fields.given("namespace", document.text, ""),
        selector=tuple(sorted((fields.optional("selector", document.labels) or {}).items())),
        period=fields.given("period", document.duration, FLAP_SECONDS),
        factor=fields.given("factor", document.number, SLOW_FACTOR),
        type=fields.given("type", document.text, "Ready"),
        status=fields.given("status", document.one_of(*STATUSES), ""),
        reason=fields.given("reason", document.text, ""),
        message=fields.given("message", document.text, ""),
        resource=fields.given("resource", document.text, "memory"),
        injected=fields.given("injected", document.boolean, False) if kept else False,
    )
    fields.done()
    check_failure(failure, fields.place)
    return failure


def check_failure(failure: Failure, place: str) -> None:
    """Raises `InvalidFleet` for what contradicts itself."""
    if failure.kind == "zoneLoss" and not failure.zone:
        raise InvalidFleet(f"{place}.zone: is required for zoneLoss")
    if KINDS[failure.kind][0] == "node" and (failure.namespace or failure.selector):
        raise InvalidFleet(f"{place}: {failure.kind} is about nodes, not about pods with a namespace or labels")
    if failure.ends <= failure.begins:
        raise InvalidFleet(f"{place}.for: must be longer than nothing")
    if not _CONDITION.fullmatch(failure.type):
        raise InvalidFleet(f"{place}.type: {failure.type!r} is no type of a condition such as MemoryPressure")
    if failure.period < 1:
        raise InvalidFleet(f"{place}.period: must be at least 1s")
    if failure.factor <= 0:
        raise InvalidFleet(f"{place}.factor: must be more than 0")


def stored(failure: Failure) -> dict[str, Any]:
    """For the ConfigMap: absolute times, only what is not a default."""
    plain = Failure(failure.kind, failure.begins, failure.ends)
    body: dict[str, Any] = {"kind": failure.kind, "begins": failure.begins, "ends": failure.ends}
    for name in _PLAIN:
        if getattr(failure, name) != getattr(plain, name):
            body[name] = getattr(failure, name)
    if failure.nodes:
        body["nodes"] = list(failure.nodes)
    if failure.selector:
        body["selector"] = dict(failure.selector)
    return body


def read_stored(value: object, place: str) -> Failure:
    """Raises `InvalidFleet`."""
    fields = Fields(value, place)
    return _read(fields, fields.take("begins", document.number), fields.take("ends", document.number), kept=True)
