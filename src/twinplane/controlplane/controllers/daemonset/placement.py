"""Where the pods of a DaemonSet belong, and what a pod for one node looks like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.pods import is_terminal, pod_from_template
from twinplane.controlplane.controllers.revisions import HASH_LABEL
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, created_at, is_deleting, name_of
from twinplane.kubeclient.node_fit import matches_node, taints_of, untolerated
from twinplane.kubeclient.resources import DAEMON_SETS

_GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
_GENERATION_LABEL = "pod-template-generation"


def _tolerated(key: str, effect: str) -> dict[str, str]:
    return {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}


DEFAULT_TOLERATIONS = (
    _tolerated("not-ready", "NoExecute"),
    _tolerated("unreachable", "NoExecute"),
    _tolerated("disk-pressure", "NoSchedule"),
    _tolerated("memory-pressure", "NoSchedule"),
    _tolerated("pid-pressure", "NoSchedule"),
    _tolerated("unschedulable", "NoSchedule"),
)
HOST_NETWORK_TOLERATION = _tolerated("network-unavailable", "NoSchedule")


class Fit(NamedTuple):
    run: bool
    """A pod is to be started there."""
    stay: bool
    """A pod that is there may stay (a NoSchedule taint drives nobody away)."""


def fit(daemon_set: Object, node: Object) -> Fit:
    spec = daemon_set["spec"]["template"].get("spec") or {}
    if spec.get("nodeName", name_of(node)) != name_of(node) or not matches_node(spec, node):
        return Fit(False, False)
    left = untolerated(taints_of(node), tolerations_of(spec), ("NoSchedule", "NoExecute"))
    return Fit(not left, not any(taint["effect"] == "NoExecute" for taint in left))


def tolerations_of(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the pods: the template's, and those without which a DaemonSet could not bring a node up."""
    found = list(spec.get("tolerations") or [])
    defaults = [*DEFAULT_TOLERATIONS, *([HOST_NETWORK_TOLERATION] if spec.get("hostNetwork") else [])]
    return [*found, *(dict(entry) for entry in defaults if entry not in found)]


def pod_for(daemon_set: Object, node_name: str, revision_hash: str) -> Object:
    """Bound by affinity to one node; the scheduler still decides whether it fits."""
    pod = pod_from_template(daemon_set["spec"]["template"], daemon_set, DAEMON_SETS)
    labels = pod["metadata"].setdefault("labels", {})
    labels[HASH_LABEL] = revision_hash
    generation = annotations_of(daemon_set).get(_GENERATION_ANNOTATION)
    if generation:
        labels[_GENERATION_LABEL] = generation
    spec = pod["spec"]
    spec["tolerations"] = tolerations_of(spec)
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_name]}]}
    affinity = spec.setdefault("affinity", {})
    affinity["nodeAffinity"] = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }
    return pod


def node_of(pod: Object) -> str:
    """The node a daemon pod is on, or is meant for while it waits to be bound."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for entry in term.get("matchFields") or []:
            if entry["key"] == "metadata.name" and entry["operator"] == "In" and len(entry["values"]) == 1:
                return str(entry["values"][0])
    return ""


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Oldest first on each node, bound ones before those that wait; without those that ended and are being deleted."""
    result: dict[str, list[Object]] = {}
    counted = (pod for pod in pods if not (is_terminal(pod) and is_deleting(pod)))
    for pod in sorted(counted, key=lambda pod: (not pod["spec"].get("nodeName"), created_at(pod), name_of(pod))):
        result.setdefault(node_of(pod), []).append(pod)
    return result
