"""The Node object, as a kubelet on an EKS instance with the external cloud provider registers them.

Pure. Sources: kubelet `registerWithAPIServer` and `nodestatus` setters, nodeadm's kubelet flags, cloud-provider-aws
labels. The cloud controller later removes the `uninitialized` taint; labels that it would add are set here as well,
because the kubelet knows them from instance metadata.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.capacity import InstanceType, allocatable, capacity, default_max_pods
from twinplane.dataplane.csi_node import DRIVER, NODE_ID, SIMULATED, ZONE, csi_node
from twinplane.dataplane.node_records import (
    CONDITIONS,
    KUBELET_ENDPOINT_ANNOTATION,
    UNINITIALIZED_TAINT,
    instance_labels,
)
from twinplane.dataplane.simulation.fleet.failures import NodeCondition
from twinplane.dataplane.simulation.fleet.member import FleetInstance
from twinplane.dataplane.simulation.instances import Instance
from twinplane.dataplane.userdata import NodeSettings
from twinplane.kubeclient.contract import Object

PATCH_VERSION = {"1.33": 5, "1.34": 3, "1.35": 1, "1.36": 0}
CONTAINERD_VERSION = "2.1.5"
KERNEL_VERSION = "6.12.46-66.121.amzn2023"
FEATURES = (
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
)
"""What a kubelet of the newest version declares by default (KEP-5328)."""
DECLARING_VERSION = "1.36"
OS_IMAGE = "Amazon Linux 2023.9.20251117"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """Everything that makes a node what it is, gathered before it registers."""

    instance: Instance
    kind: InstanceType
    settings: NodeSettings
    region: str
    zone_id: str
    version: str
    kubelet_endpoint: str
    provider_id: str

    @property
    def name(self) -> str:
        return self.instance.private_dns_name

    @property
    def has_cloud(self) -> bool:
        """A cloud controller will initialize it."""
        return self.provider_id.startswith("aws://")

    @property
    def own_capacity(self) -> dict[str, str]:
        """What a fleet's group has besides, or instead."""
        instance = self.instance
        return dict(instance.capacity) if isinstance(instance, FleetInstance) else {}

    @property
    def max_pods(self) -> int:
        own = self.settings.max_pods
        return default_max_pods(self.kind) if own is None else own

    @property
    def max_volumes(self) -> int:
        own = self.instance.volumes if isinstance(self.instance, FleetInstance) else None
        return self.kind.volumes if own is None else own


def node_object(spec: NodeSpec, now: float) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": node_labels(spec),
            "annotations": node_annotations(spec),
        },
        "spec": {
            "providerID": spec.provider_id,
            "taints": [*([UNINITIALIZED_TAINT] if spec.has_cloud else []), *spec.settings.taints],
        },
        "status": node_status(spec, now, now),
    }


def node_annotations(spec: NodeSpec) -> dict[str, str]:
    own = spec.instance.annotations if isinstance(spec.instance, FleetInstance) else {}
    return {
        **own,
        "alpha.kubernetes.io/provided-node-ip": spec.instance.private_ip,
        NODE_ID: f'{{"{DRIVER}":"{spec.instance.instance_id}"}}',
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        KUBELET_ENDPOINT_ANNOTATION: spec.kubelet_endpoint,
    }


def node_labels(spec: NodeSpec) -> dict[str, str]:
    base = instance_labels(
        spec.name,
        instance_type=spec.instance.instance_type,
        architecture=spec.kind.kubernetes_architecture,
        region=spec.region,
        zone=spec.instance.availability_zone,
        zone_id=spec.zone_id,
    )
    return base | {ZONE: spec.instance.availability_zone} | spec.settings.labels


def node_volumes(spec: NodeSpec, uid: str) -> Object:
    """The CSINode, as the kubelet and the EBS CSI driver of an EC2 instance make it."""
    body = csi_node(spec.name, uid, spec.instance.instance_id, spec.max_volumes)
    body["metadata"]["labels"] = {SIMULATED: "true"}
    return body


def node_status(
    spec: NodeSpec,
    now: float,
    since: float,
    faults: Iterable[NodeCondition] = (),
    turned: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """`since` is when the node became what it is: conditions keep that as their transition."""
    return {
        "capacity": capacity(spec.kind, spec.max_pods) | spec.own_capacity,
        "allocatable": allocatable_of(spec),
        "addresses": [
            {"type": "InternalIP", "address": spec.instance.private_ip},
            {"type": "InternalDNS", "address": spec.name},
            {"type": "Hostname", "address": spec.name},
        ],
        "conditions": node_conditions(now, since, faults, turned),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": node_info(spec),
        **({"declaredFeatures": list(FEATURES)} if spec.version >= DECLARING_VERSION else {}),
    }


def allocatable_of(spec: NodeSpec) -> dict[str, str]:
    return allocatable(spec.kind, spec.max_pods) | spec.own_capacity


def node_conditions(
    now: float, since: float, faults: Iterable[NodeCondition], turned: Mapping[str, float]
) -> list[dict[str, str]]:
    """`faults` stand in place of what a node that is well says; `turned` says when conditions other than Ready changed.

    Types that only a fault had are deleted, in the words of a strategic merge patch.
    """
    wanted = {item[0]: NodeCondition(*item) for item in CONDITIONS} | {item.type: item for item in faults}
    conditions = [
        {
            "type": item.type,
            "status": item.status,
            "reason": item.reason,
            "message": item.message,
            "lastHeartbeatTime": rfc3339(now),
            "lastTransitionTime": rfc3339(max(since, turned.get(item.type, since))),
        }
        for item in wanted.values()
    ]
    return conditions + [{"type": name, "$patch": "delete"} for name in turned if name not in wanted]


def node_info(spec: NodeSpec) -> dict[str, str]:
    instance_id = spec.instance.instance_id
    kubelet = f"v{spec.version}.{PATCH_VERSION.get(spec.version, 0)}-eks-3abbec1"
    return {
        "machineID": "ec2" + hashlib.sha256(instance_id.encode()).hexdigest()[:29],
        "systemUUID": str(uuid.uuid5(uuid.NAMESPACE_OID, instance_id)),
        "bootID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{instance_id}/{spec.instance.launch_time}")),
        "kernelVersion": f"{KERNEL_VERSION}.{spec.kind.architecture.replace('arm64', 'aarch64')}",
        "osImage": OS_IMAGE,
        "containerRuntimeVersion": f"containerd://{CONTAINERD_VERSION}",
        "kubeletVersion": kubelet,
        "operatingSystem": "linux",
        "architecture": spec.kind.kubernetes_architecture,
    }
