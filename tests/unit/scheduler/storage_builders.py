"""Claims, volumes and classes for scheduler tests."""

from __future__ import annotations

from typing import Any

from tests.unit.scheduler.builders import ZONE, World
from twinplane.controlplane.scheduler.capacity import attached_of, capacity_of
from twinplane.controlplane.scheduler.storage import claim_of, class_of, limits_of, volume_of
from twinplane.kubeclient.contract import Object

EBS = "ebs.csi.aws.com"


def claim(
    name: str,
    *,
    storage_class: str = "gp3",
    volume: str = "",
    size: str = "1Gi",
    modes: tuple[str, ...] = ("ReadWriteOnce",),
    owner: str = "",
    **spec: Any,
) -> Object:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}", "annotations": {}}
    if volume:
        metadata["annotations"]["pv.kubernetes.io/bind-completed"] = "yes"
        spec["volumeName"] = volume
    if owner:
        metadata["ownerReferences"] = [{"kind": "Pod", "name": "p", "uid": owner, "controller": True}]
    requests = {"requests": {"storage": size}}
    body = {"storageClassName": storage_class, "accessModes": list(modes), "resources": requests, **spec}
    return {"metadata": metadata, "spec": body, "status": {"phase": "Bound" if volume else "Pending"}}


def volume(
    name: str,
    *,
    storage_class: str = "gp3",
    size: str = "1Gi",
    zone: str = "",
    labels: dict[str, str] | None = None,
    claim: str = "",
    driver: str = EBS,
    **spec: Any,
) -> Object:
    body: dict[str, Any] = {
        "storageClassName": storage_class,
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": driver, "volumeHandle": f"vol-{name}"},
        **spec,
    }
    if zone:
        expression = {"key": ZONE, "operator": "In", "values": [zone]}
        body["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    if claim:
        body["claimRef"] = {"namespace": "default", "name": claim, "uid": f"uid-{claim}"}
    phase = "Bound" if claim else "Available"
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": body, "status": {"phase": phase}}


def storage_class(
    name: str = "gp3", *, waits: bool = True, provisioner: str = EBS, zones: tuple[str, ...] = ()
) -> Object:
    body: Object = {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer" if waits else "Immediate",
    }
    if zones:
        body["allowedTopologies"] = [{"matchLabelExpressions": [{"key": ZONE, "values": list(zones)}]}]
    return body


def csi_node(name: str, count: int, driver: str = EBS) -> Object:
    driver_body = {"name": driver, "nodeID": name, "allocatable": {"count": count}}
    return {"metadata": {"name": name}, "spec": {"drivers": [driver_body]}}


def capacity(name: str, *, zone: str = "", storage_class: str = "gp3", **fields: str) -> Object:
    """`fields`: capacity, maximumVolumeSize."""
    topology = {"matchLabels": {ZONE: zone}} if zone else None
    metadata = {"name": name, "namespace": "kube-system"}
    return {"metadata": metadata, "storageClassName": storage_class, "nodeTopology": topology, **fields}


def attachment(name: str, node: str, volume: str, driver: str = EBS) -> Object:
    spec = {"attacher": driver, "nodeName": node, "source": {"persistentVolumeName": volume}}
    return {"metadata": {"name": name}, "spec": spec}


def mounts(*claims: str) -> dict[str, Any]:
    return {"volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]}


def know(
    world: World,
    *,
    claims: tuple[Object, ...] = (),
    volumes: tuple[Object, ...] = (),
    classes: tuple[Object, ...] = (),
    csi_nodes: tuple[Object, ...] = (),
    capacities: tuple[Object, ...] = (),
    attachments: tuple[Object, ...] = (),
) -> None:
    """With `capacities` the EBS driver tracks them."""
    storage = world.snapshot.surroundings.storage
    for body in claims:
        storage.set_claim(f"default/{body['metadata']['name']}", claim_of(body))
    for body in volumes:
        storage.set_volume(body["metadata"]["name"], volume_of(body))
    for body in classes:
        storage.set_class(body["metadata"]["name"], class_of(body))
    for body in csi_nodes:
        storage.set_limits(body["metadata"]["name"], limits_of(body))
    for body in capacities:
        storage.set_tracking(EBS, tracks=True)
        storage.set_capacity(f"kube-system/{body['metadata']['name']}", capacity_of(body))
    for body in attachments:
        storage.set_attached(body["metadata"]["name"], attached_of(body))
