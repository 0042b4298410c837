"""Pods and nodes for scheduler tests, as short as a test can say them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.kubeclient.contract import Object

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "16Gi",
    pods: int = 110,
    zone: str = "us-west-2a",
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    **spec: Any,
) -> Object:
    return {
        "metadata": {"name": name, "labels": {HOSTNAME: name, ZONE: zone, **(labels or {})}},
        "spec": {"taints": taints or [], **spec},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": str(pods)}},
    }


def pod(
    name: str,
    *,
    cpu: str = "",
    memory: str = "",
    labels: dict[str, str] | None = None,
    namespace: str = "default",
    host_port: int = 0,
    deleting: bool = False,
    owner: str = "",
    **spec: Any,
) -> Object:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container: dict[str, Any] = {"name": "main", "image": "app:1", "resources": {"requests": requests}}
    if host_port:
        container["ports"] = [{"containerPort": 80, "hostPort": host_port}]
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}}
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    if owner:
        metadata["ownerReferences"] = [{"kind": "ReplicaSet", "name": "owner", "uid": owner, "controller": True}]
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


def snapshot(*nodes: Object) -> Snapshot:
    made = Snapshot()
    for body in nodes:
        made.set_node(node_facts(body))
    return made


class World:
    """A snapshot with one interner, so that equal pods share their shape as in the scheduler."""

    def __init__(self, *nodes: Object) -> None:
        self.snapshot = snapshot(*nodes)
        self.shapes = self.snapshot.shapes

    def parse(self, *bodies: Object) -> list[Pod]:
        return [self.shapes.pod(body) for body in bodies]

    def run(self, body: Object, on: str) -> Pod:
        """A pod that is bound already."""
        made = self.shapes.pod({**body, "spec": {**body["spec"], "nodeName": on}})
        self.snapshot.add_pod(made, on)
        return made


def required_anti_affinity(key: str, labels: dict[str, str]) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def required_affinity(key: str, labels: dict[str, str]) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def spread(key: str, labels: dict[str, str], *, skew: int = 1, soft: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway" if soft else "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
        **more,
    }
