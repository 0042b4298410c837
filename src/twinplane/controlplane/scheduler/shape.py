"""What the scheduler reads from a pod, parsed once for all pods of the same shape.

Pods made from one template differ in name and identity only. A `PodShape` holds everything that plugins look at; equal
pods share one shape object, which is the equivalence class by which the core keeps its rankings and by which nodes
count their pods. Shapes are compared by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import WeakValueDictionary, ref

import orjson

from twinplane.clock import from_rfc3339
from twinplane.controlplane.scheduler.requirements import (
    NodeTerm,
    Requirement,
    Selector,
    equalities,
    label_selector,
    node_term,
)
from twinplane.controlplane.scheduler.resources import ExtendedUse, Requests, extended_uses, pod_requests
from twinplane.controlplane.scheduler.volumes import (
    ClaimUse,
    DeviceUse,
    Disk,
    claim_uses,
    device_uses,
    disks,
    image_volumes,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.declared_features import needed_to_run
from twinplane.kubeclient.topology import COPIED_LABELS, topology_of


class Toleration(NamedTuple):
    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (bool(self.key) and self.value == taint.value)


class Taint(NamedTuple):
    key: str
    value: str
    effect: str


class HostPort(NamedTuple):
    address: str
    protocol: str
    port: int

    def conflicts(self, other: HostPort) -> bool:
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return self.address == other.address or "0.0.0.0" in (self.address, other.address)


class SpreadConstraint(NamedTuple):
    max_skew: int
    topology_key: str
    selector: Selector | None
    hard: bool
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


class PodTerm(NamedTuple):
    """A pod affinity term: which pods (labels and namespaces) and in which domain of the topology."""

    topology_key: str
    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None
    weight: int = 0
    """Negative for preferred anti-affinity; 0 for required terms."""


class Preferred(NamedTuple):
    weight: int
    term: NodeTerm


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PodShape:
    namespace: str
    labels: Mapping[str, str]
    owner: str
    """uid of the controller, empty without one."""
    terminating: bool
    requests: Requests
    node_selector: Selector
    node_terms: tuple[NodeTerm, ...] | None
    """Required node affinity; None when there is none."""
    preferred_nodes: tuple[Preferred, ...]
    tolerations: tuple[Toleration, ...]
    host_ports: tuple[HostPort, ...]
    images: tuple[str, ...]
    """Of all containers, as often as they name it, and of volumes."""
    container_count: int
    """Init containers included."""
    spread: tuple[SpreadConstraint, ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    preferred_pods: tuple[PodTerm, ...]
    claims: tuple[ClaimUse, ...] = ()
    disks: tuple[Disk, ...] = ()
    device_claims: tuple[DeviceUse, ...] = ()
    extended: tuple[ExtendedUse, ...] = ()
    """Requests for extended resources, which a DeviceClass may back."""
    features: frozenset[str] = frozenset()
    """Of the node's kubelet, that the pod needs."""
    uid: str = ""
    """Of the one pod of this shape, when it has claims that belong to one pod."""
    node_name: str = ""
    """The one node a pod names itself. Not part of the class: such pods are bound and never queue."""
    form: bytes = b""
    """All that was read of the pod; this and the next one are for `Shapes`, who made it."""
    bound: dict[tuple[str | None, ...], ref[PodShape]] = field(default_factory=dict, init=False)
    """What it becomes on nodes, by their topology."""

    @property
    def has_pod_terms(self) -> bool:
        return bool(self.affinity or self.anti_affinity or self.preferred_pods)

    @property
    def is_personal(self) -> bool:
        """It names volumes or devices, which may be one pod's alone: see `Plugin.personal`."""
        return bool(self.claims or self.disks or self.uses_devices)

    @property
    def uses_devices(self) -> bool:
        """It has ResourceClaims, or is one pod's own shape with extended resources that come from devices."""
        return bool(self.device_claims or (self.extended and self.uid))

    @property
    def claim_keys(self) -> tuple[str, ...]:
        return tuple(f"{self.namespace}/{claim.name}" for claim in self.claims)

    @property
    def device_claim_keys(self) -> tuple[str, ...]:
        return tuple(f"{self.namespace}/{use.name}" for use in self.device_claims)

    def tolerates(self, taint: Taint) -> bool:
        return any(toleration.tolerates(taint) for toleration in self.tolerations)

    def selects_node(self, labels: Mapping[str, str], name: str) -> bool:
        """`nodeSelector` and required node affinity together."""
        if not all(requirement.holds(labels) for requirement in self.node_selector):
            return False
        return self.node_terms is None or any(term.holds(labels, name) for term in self.node_terms)


def selecting_keys(shape: PodShape) -> set[str]:
    """Of the labels that a shape's own selectors of pods name."""
    selectors = [term.selector for term in (*shape.affinity, *shape.anti_affinity, *shape.preferred_pods)]
    selectors += [constraint.selector for constraint in shape.spread]
    return {requirement.key for selector in selectors for requirement in selector or ()}


class Pod(NamedTuple):
    """One pod: its identity, and the shape it shares."""

    uid: str
    namespace: str
    name: str
    shape: PodShape
    priority: int = 0
    node: str = ""
    """The node it is bound to, empty while it waits."""
    nominated: str = ""
    preempts: bool = True
    """`preemptionPolicy` is not Never."""
    gates: tuple[str, ...] = ()
    started: float = 0.0
    scheduler: str = "default-scheduler"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


_SPEC_FIELDS = (
    *("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "overhead", "resources"),
    "hostUsers",
)
_CONTAINER_FIELDS = ("name", "resources", "ports", "image", "restartPolicy", "restartPolicyRules")


class Shapes:
    """Interns shapes. They live as long as a pod or a ranking refers to them."""

    def __init__(self) -> None:
        self._shapes: WeakValueDictionary[bytes, PodShape] = WeakValueDictionary()

    def pod(self, body: Object) -> Pod:
        metadata, spec = body["metadata"], body["spec"]
        status = body.get("status") or {}
        return Pod(
            uid=metadata.get("uid", ""),
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            shape=self.shape(body),
            priority=spec.get("priority") or 0,
            node=spec.get("nodeName") or "",
            nominated=status.get("nominatedNodeName") or "",
            preempts=spec.get("preemptionPolicy") != "Never",
            gates=tuple(gate["name"] for gate in spec.get("schedulingGates") or ()),
            started=_seconds(status.get("startTime") or metadata.get("creationTimestamp")),
            scheduler=spec.get("schedulerName") or "default-scheduler",
        )

    def shape(self, body: Object) -> PodShape:
        form = orjson.dumps(_form(body), option=orjson.OPT_SORT_KEYS)
        shape = self._shapes.get(form)
        if shape is None:
            shape = self._shapes[form] = _parse(body, form)
        return shape

    def bound(self, shape: PodShape, node_labels: Mapping[str, str]) -> PodShape:
        """What the shape becomes with the binding to a node, whose topology the API server copies to the pod's labels.

        A binding that is confirmed brings the very same shape, so that nothing has changed then.
        """
        topology = tuple([node_labels.get(key) for key in COPIED_LABELS])
        known = shape.bound.get(topology)
        found = known() if known is not None else None
        if found is None:
            found = self._relabelled(shape, {**shape.labels, **topology_of(node_labels)})
            shape.bound[topology] = ref(found)
        return found

    def _relabelled(self, shape: PodShape, labels: Mapping[str, str]) -> PodShape:
        if not shape.form or labels == shape.labels:
            return shape
        form = _with_labels(labels) + shape.form.removeprefix(_with_labels(shape.labels))
        found = self._shapes.get(form)
        if found is None:
            found = self._shapes[form] = replace(shape, labels=labels, form=form)
        return found


def _with_labels(labels: Mapping[str, str]) -> bytes:
    """How a form begins."""
    return b"[" + orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)


def _seconds(text: str | None) -> float:
    return from_rfc3339(text) if text else 0.0


def _owner(metadata: dict[str, Any]) -> str:
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def _form(body: Object) -> list[Any]:
    metadata, spec = body["metadata"], body["spec"]
    claims = claim_uses(spec, metadata["name"]) if spec.get("volumes") else ()
    devices = device_uses(spec, body.get("status") or {}) if spec.get("resourceClaims") else ()
    containers = [
        [[container.get(field) for field in _CONTAINER_FIELDS] for container in spec.get(group) or ()]
        for group in ("containers", "initContainers")
    ]
    return [
        metadata.get("labels") or {},
        metadata.get("namespace"),
        _owner(metadata),
        "deletionTimestamp" in metadata,
        bool(spec.get("hostNetwork")),
        [spec.get(field) for field in _SPEC_FIELDS],
        containers,
        [list(claim) for claim in claims],
        [(*disk[:2], sorted(disk.hosts), disk.shared) for disk in disks(spec)],
        image_volumes(spec),
        [list(use) for use in devices],
        _sole_uid(metadata, claims, devices),
    ]


def _sole_uid(metadata: dict[str, Any], claims: tuple[ClaimUse, ...], devices: tuple[DeviceUse, ...]) -> str:
    personal = devices or any(claim.ephemeral for claim in claims)
    return str(metadata.get("uid", "")) if personal else ""


def _parse(body: Object, form: bytes) -> PodShape:
    metadata, spec = body["metadata"], body["spec"]
    namespace = metadata.get("namespace", "")
    labels = metadata.get("labels") or {}
    affinity = spec.get("affinity") or {}
    nodes = affinity.get("nodeAffinity") or {}
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution")
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    claims = claim_uses(spec, metadata["name"])
    devices = device_uses(spec, body.get("status") or {})
    return PodShape(
        namespace=namespace,
        labels=labels,
        owner=_owner(metadata),
        terminating="deletionTimestamp" in metadata,
        requests=pod_requests(spec),
        node_selector=equalities(spec.get("nodeSelector")),
        node_terms=None
        if required is None
        else tuple(node_term(term) for term in required.get("nodeSelectorTerms") or ()),
        preferred_nodes=tuple(
            Preferred(item.get("weight") or 0, node_term(item.get("preference") or {}))
            for item in nodes.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ),
        tolerations=tuple(_toleration(item) for item in spec.get("tolerations") or ()),
        host_ports=_host_ports(spec),
        images=tuple(sorted([*(each.get("image") or "" for each in containers), *image_volumes(spec)])),
        container_count=len(containers),
        spread=tuple(_spread(item, labels) for item in spec.get("topologySpreadConstraints") or ()),
        affinity=_required_terms(affinity.get("podAffinity"), namespace, labels),
        anti_affinity=_required_terms(affinity.get("podAntiAffinity"), namespace, labels),
        preferred_pods=_preferred_terms(affinity.get("podAffinity"), namespace, labels, 1)
        + _preferred_terms(affinity.get("podAntiAffinity"), namespace, labels, -1),
        claims=claims,
        disks=disks(spec),
        device_claims=devices,
        extended=extended_uses(spec),
        features=needed_to_run(spec),
        uid=_sole_uid(metadata, claims, devices),
        form=form,
    )


def _toleration(item: dict[str, Any]) -> Toleration:
    return Toleration(
        item.get("key") or "", item.get("operator") or "Equal", item.get("value") or "", item.get("effect") or ""
    )


def _host_ports(spec: dict[str, Any]) -> tuple[HostPort, ...]:
    sidecars = [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    found = []
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port.get("containerPort") if spec.get("hostNetwork") else 0)
            if number:
                found.append(HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", number))
    return tuple(found)


def _spread(item: dict[str, Any], labels: Mapping[str, str]) -> SpreadConstraint:
    selector = label_selector(item.get("labelSelector"))
    return SpreadConstraint(
        max_skew=item.get("maxSkew") or 1,
        topology_key=item.get("topologyKey") or "",
        selector=_with_keys(selector, item.get("matchLabelKeys"), labels, "In"),
        hard=item.get("whenUnsatisfiable") != "ScheduleAnyway",
        min_domains=item.get("minDomains") or 1,
        honor_affinity=item.get("nodeAffinityPolicy") != "Ignore",
        honor_taints=item.get("nodeTaintsPolicy") == "Honor",
    )


def _with_keys(
    selector: Selector | None, keys: list[str] | None, labels: Mapping[str, str], operator: str
) -> Selector | None:
    """`matchLabelKeys` (In) and `mismatchLabelKeys` (NotIn): the pod's own values join the selector, where the API
    server has not put them there already.
    """
    if selector is None or not keys:
        return selector
    own = (Requirement(key, operator, frozenset((labels[key],))) for key in keys if key in labels)
    return selector + tuple(requirement for requirement in own if requirement not in selector)


def _pod_term(term: dict[str, Any], namespace: str, labels: Mapping[str, str], weight: int) -> PodTerm:
    selector = _with_keys(label_selector(term.get("labelSelector")), term.get("matchLabelKeys"), labels, "In")
    names = term.get("namespaces") or []
    namespace_selector = label_selector(term.get("namespaceSelector"))
    if not names and namespace_selector is None:
        names = [namespace]
    return PodTerm(
        topology_key=term.get("topologyKey") or "",
        selector=_with_keys(selector, term.get("mismatchLabelKeys"), labels, "NotIn"),
        namespaces=frozenset(names),
        namespace_selector=namespace_selector,
        weight=weight,
    )


def _required_terms(affinity: dict[str, Any] | None, namespace: str, labels: Mapping[str, str]) -> tuple[PodTerm, ...]:
    terms = (affinity or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(_pod_term(term, namespace, labels, 0) for term in terms)


def _preferred_terms(
    affinity: dict[str, Any] | None, namespace: str, labels: Mapping[str, str], sign: int
) -> tuple[PodTerm, ...]:
    items = (affinity or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(
        _pod_term(item.get("podAffinityTerm") or {}, namespace, labels, sign * (item.get("weight") or 0))
        for item in items
    )
