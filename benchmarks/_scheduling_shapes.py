"""The workloads of `benchmarks.scheduler`: the shapes of upstream's scheduler_perf, with its CI floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twinplane.kubeclient.contract import Object

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
ZONES = 3
HIGH = "high"
"""The priority class of preempting pods."""
HIGH_VALUE = 10


@dataclass(frozen=True)
class Shape:
    name: str
    nodes: int
    running: int
    """Pods that are there already, spread over the nodes."""
    pods: int
    """Measured."""
    floor: int
    """Pods a second in upstream's CI."""
    core_goal: int
    api_goal: int
    spec: Callable[[], Object]
    """Of the measured pods, added to what all pods have."""
    running_spec: Callable[[], Object] = dict
    labels: tuple[tuple[str, str], ...] = (("app", "web"),)
    indexed: bool = False
    """Each measured pod has a label of its own, as those of an indexed Job."""


def _constraint() -> Object:
    constraint = {
        "maxSkew": 5,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    return {"topologySpreadConstraints": [constraint]}


def _pod_term(kind: str, key: str) -> Callable[[], Object]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}}
    return lambda: {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def _node_term() -> Object:
    expression = {"key": ZONE, "operator": "In", "values": ["zone-0", "zone-1"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def _preempting() -> Object:
    return {"priority": HIGH_VALUE, "priorityClassName": HIGH, "containers": _containers("3")}


def _preempted() -> Object:
    return {"terminationGracePeriodSeconds": 0, "containers": _containers("900m")}


SHAPES = (
    Shape("basic", 5_000, 0, 10_000, 680, 20_000, 1_500, dict),
    Shape("topology spreading", 5_000, 1_000, 5_000, 460, 5_000, 1_000, _constraint),
    Shape(
        "required pod anti-affinity",
        5_000,
        1_000,
        4_000,
        60,
        2_000,
        600,
        _pod_term("podAntiAffinity", HOSTNAME),
        _pod_term("podAntiAffinity", HOSTNAME),
    ),
    Shape("pod affinity", 5_000, 5_000, 5_000, 35, 2_000, 600, _pod_term("podAffinity", ZONE)),
    Shape("preemption", 5_000, 20_000, 5_000, 570, 2_000, 500, _preempting, _preempted),
    Shape("node affinity", 5_000, 5_000, 10_000, 220, 10_000, 1_000, _node_term),
    Shape("indexed Job", 5_000, 0, 10_000, 0, 20_000, 1_500, dict, indexed=True),
    Shape("basic, 100,000 nodes", 100_000, 0, 10_000, 500, 5_000, 800, dict),
)


def nodes(shape: Shape) -> Iterator[Object]:
    for number in range(shape.nodes):
        name = f"node-{number}"
        labels = {HOSTNAME: name, ZONE: f"zone-{number % ZONES}"}
        allocatable = {"cpu": "4", "memory": "32Gi", "pods": "110"}
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": allocatable, "capacity": allocatable},
        }


def running_pods(shape: Shape) -> Iterator[Object]:
    for number in range(shape.running):
        body = _pod(f"running-{number}", shape, shape.running_spec())
        body["spec"]["nodeName"] = f"node-{number % shape.nodes}"
        yield body


def measured_pods(shape: Shape) -> Iterator[Object]:
    for number in range(shape.pods):
        body = _pod(f"measured-{number}", shape, shape.spec())
        if shape.indexed:
            body["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = str(number)
        yield body


def _pod(name: str, shape: Shape, spec: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": dict(shape.labels)},
        "spec": {"containers": _containers("100m"), **spec},
    }


def _containers(cpu: str) -> list[dict[str, Any]]:
    requests = {"cpu": cpu, "memory": "500Mi"}
    return [{"name": "pause", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}]
