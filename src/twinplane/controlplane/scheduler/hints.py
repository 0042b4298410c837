"""Which change in the cluster can make which refusal go away: the queueing hints of upstream's plugins.

A pod set aside is tried again when the hint of one of the plugins that refused it says so. Hints see the change and the
pod's shape only; they may be too hopeful, never too pessimistic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from twinplane.controlplane.scheduler.node import UNSCHEDULABLE_TAINT, NodeFacts, NodeState
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import Pod, PodShape, PodTerm

HARD_EFFECTS = ("NoSchedule", "NoExecute")


class Kind(Enum):
    NODE_CHANGED = "node changed"
    POD_PLACED = "pod placed"
    POD_GONE = "pod gone"
    POD_RELABELLED = "pod relabelled, or terminating"
    """It takes up what it did, but other pods no longer select it as they did."""
    CLAIM_CHANGED = "claim changed"
    VOLUME_CHANGED = "volume changed"
    CLASS_CHANGED = "storage class changed"
    LIMITS_CHANGED = "attach limits changed"
    DETACHED = "volume detached"
    CAPACITY_CHANGED = "storage capacity changed"
    DEVICES_CHANGED = "devices or claims of devices changed"
    DEVICE_CLASS_CHANGED = "device class changed"


class Happening(NamedTuple):
    """A change, with what is known of it. Without details every plugin that could be concerned is."""

    kind: Kind
    node: NodeFacts | None = None
    shape: PodShape | None = None
    """Of the pod that came or went."""
    left: NodeState | None = None
    """The node that a pod went from, without it."""
    claim: str = ""
    """Key of the claim that changed."""


Hint = Callable[[Pod, Happening], bool]


def helps(happening: Happening, plugins: Iterable[str], pod: Pod) -> bool:
    """`plugins` are those that refused; none when there were no nodes at all.

    `pod` stands for all of its shape and priority that the same plugins refused.
    """
    hints = HINTS[happening.kind]
    asked = False
    for name in plugins:
        asked = True
        hint = hints.get(name)
        if hint is not None and hint(pod, happening):
            return True
    return not asked and happening.kind is Kind.NODE_CHANGED


def _always(pod: Pod, happening: Happening) -> bool:
    return True


def _node_is_big_enough(pod: Pod, happening: Happening) -> bool:
    if happening.node is None:
        return True
    allocatable = happening.node.allocatable
    return all(amount <= allocatable.get(name, 0) for name, amount in pod.shape.requests.amounts.items())


def _makes_room(pod: Pod, happening: Happening) -> bool:
    """Whether the pod fits into what is left of the node, or would once lesser pods were preempted."""
    node = happening.left
    if node is None:
        return True
    staying = [other for other in node.pods.values() if other.priority >= pod.priority or not pod.preempts]
    allocatable = node.facts.allocatable
    if len(staying) >= node.facts.pods_allowed:
        return False
    return all(
        amount + sum(other.shape.requests.amounts.get(name, 0) for other in staying) <= allocatable.get(name, 0)
        for name, amount in pod.shape.requests.amounts.items()
    )


def nominees_that_fit(node: NodeState) -> list[str]:
    """uids of pods that were promised room on a node where nothing is over-committed any more."""
    nominees = [other for other in node.pods.values() if not other.node]
    if not nominees or len(node.pods) > node.facts.pods_allowed:
        return []
    allocatable = node.facts.allocatable
    if any(amount > allocatable.get(name, 0) for name, amount in node.used.items()):
        return []
    return [other.uid for other in nominees]


def _node_is_selected(pod: Pod, happening: Happening) -> bool:
    node = happening.node
    return node is None or pod.shape.selects_node(node.labels, node.name)


def _taints_are_tolerated(pod: Pod, happening: Happening) -> bool:
    taints = happening.node.taints if happening.node is not None else ()
    return all(taint.effect not in HARD_EFFECTS or pod.shape.tolerates(taint) for taint in taints)


def _node_is_open(pod: Pod, happening: Happening) -> bool:
    node = happening.node
    return node is None or not node.unschedulable or pod.shape.tolerates(UNSCHEDULABLE_TAINT)


def _declares_features(pod: Pod, happening: Happening) -> bool:
    return happening.node is None or pod.shape.features.issubset(happening.node.features)


def _frees_a_port(pod: Pod, happening: Happening) -> bool:
    gone = happening.shape
    return gone is None or any(own.conflicts(other) for own in pod.shape.host_ports for other in gone.host_ports)


def _is_counted(pod: Pod, happening: Happening) -> bool:
    other = happening.shape
    if other is None or not pod.shape.spread:
        return True
    if other.namespace != pod.shape.namespace:
        return False
    return any(matches(constraint.selector, other.labels) for constraint in pod.shape.spread)


def _is_wanted_near(pod: Pod, happening: Happening) -> bool:
    other = happening.shape
    return other is None or any(_may_select(term, other) for term in pod.shape.affinity)


def _is_kept_apart(pod: Pod, happening: Happening) -> bool:
    other = happening.shape
    if other is None:
        return True
    # The last pod of a group that wanted to be near itself going away makes the next one the first.
    terms = (*pod.shape.anti_affinity, *pod.shape.affinity)
    return any(_may_select(term, other) for term in terms) or any(
        _may_select(term, pod.shape) for term in other.anti_affinity
    )


def _may_select(term: PodTerm, other: PodShape) -> bool:
    if other.namespace not in term.namespaces and term.namespace_selector is None:
        return False
    return matches(term.selector, other.labels)


def _frees_a_volume(pod: Pod, happening: Happening) -> bool:
    gone = happening.shape
    if gone is None:
        return True
    shares = gone.namespace == pod.shape.namespace and not {claim.name for claim in gone.claims}.isdisjoint(
        claim.name for claim in pod.shape.claims
    )
    return shares or any(own.conflicts(other) for own in pod.shape.disks for other in gone.disks)


def _frees_an_attachment(pod: Pod, happening: Happening) -> bool:
    gone = happening.shape
    return gone is None or bool(gone.claims or gone.disks)


def _is_its_claim(pod: Pod, happening: Happening) -> bool:
    return not happening.claim or happening.claim in pod.shape.claim_keys


def _is_its_device_claim(pod: Pod, happening: Happening) -> bool:
    return not happening.claim or happening.claim in pod.shape.device_claim_keys


def _asks_for_extended_resources(pod: Pod, happening: Happening) -> bool:
    return bool(pod.shape.extended)


HINTS: Mapping[Kind, Mapping[str, Hint]] = {
    Kind.NODE_CHANGED: {
        "NodeUnschedulable": _node_is_open,
        "NodeName": _always,
        "TaintToleration": _taints_are_tolerated,
        "NodeAffinity": _node_is_selected,
        "NodePorts": _always,
        "NodeResourcesFit": _node_is_big_enough,
        "VolumeRestrictions": _always,
        "NodeVolumeLimits": _always,
        "VolumeBinding": _always,
        "VolumeZone": _always,
        "DynamicResources": _always,
        "PodTopologySpread": _always,
        "InterPodAffinity": _always,
        "NodeDeclaredFeatures": _declares_features,
    },
    Kind.POD_PLACED: {"PodTopologySpread": _is_counted, "InterPodAffinity": _is_wanted_near},
    Kind.POD_GONE: {
        "NodePorts": _frees_a_port,
        "NodeResourcesFit": _makes_room,
        "VolumeRestrictions": _frees_a_volume,
        "NodeVolumeLimits": _frees_an_attachment,
        "PodTopologySpread": _is_counted,
        "InterPodAffinity": _is_kept_apart,
    },
    Kind.POD_RELABELLED: {"PodTopologySpread": _is_counted, "InterPodAffinity": _is_kept_apart},
    Kind.CLAIM_CHANGED: dict.fromkeys(
        ("VolumeBinding", "VolumeZone", "VolumeRestrictions", "NodeVolumeLimits"), _is_its_claim
    ),
    Kind.VOLUME_CHANGED: dict.fromkeys(("VolumeBinding", "VolumeZone", "NodeVolumeLimits"), _always),
    Kind.CLASS_CHANGED: dict.fromkeys(("VolumeBinding", "VolumeZone"), _always),
    Kind.LIMITS_CHANGED: dict.fromkeys(("NodeVolumeLimits",), _always),
    Kind.DETACHED: dict.fromkeys(("NodeVolumeLimits",), _always),
    Kind.CAPACITY_CHANGED: dict.fromkeys(("VolumeBinding",), _always),
    Kind.DEVICES_CHANGED: {"DynamicResources": _is_its_device_claim},
    Kind.DEVICE_CLASS_CHANGED: {"DynamicResources": _always, "NodeResourcesFit": _asks_for_extended_resources},
}
"""Kind of change -> plugin -> its hint; plugins that are not named cannot be helped by it."""
