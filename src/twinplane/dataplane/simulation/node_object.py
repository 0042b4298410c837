"""The Node object, as a kubelet on an EKS instance with the external cloud provider registers them.

Pure. Sources: kubelet `registerWithAPIServer` and `nodestatus` setters, nodeadm's kubelet flags, cloud-provider-aws
labels. The cloud controller later removes the `uninitialized` taint; labels that it would add are set here as well,
because the kubelet knows them from instance metadata.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.capacity import InstanceType, allocatable, capacity, default_max_pods
from twinplane.dataplane.node_records import (
    CONDITIONS,
    KUBELET_ENDPOINT_ANNOTATION,
    UNINITIALIZED_TAINT,
    instance_labels,
)
from twinplane.dataplane.simulation.instances import Instance
from twinplane.dataplane.userdata import NodeSettings
from twinplane.kubeclient.contract import Object

PATCH_VERSION = {"1.33": 5, "1.34": 3, "1.35": 1, "1.36": 0}
CONTAINERD_VERSION = "2.1.5"
KERNEL_VERSION = "6.12.46-66.121.amzn2023"
OS_IMAGE = "Amazon Linux 2023.9.20251117"

FLAPPING_CONDITIONS = (
    *CONDITIONS[:-1],
    (
        "Ready",
        "False",
        "KubeletNotReady",
        "PLEG is not healthy: pleg was last seen active 3m0s ago; threshold is 3m0s",
    ),
)


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
    def max_pods(self) -> int:
        return self.settings.max_pods or default_max_pods(self.kind)


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
    return {
        "alpha.kubernetes.io/provided-node-ip": spec.instance.private_ip,
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
    return base | spec.settings.labels


def node_status(spec: NodeSpec, now: float, since: float, *, ready: bool = True) -> dict[str, Any]:
    """`since` is when the node became what it is: conditions keep that as their transition."""
    return {
        "capacity": capacity(spec.kind, spec.max_pods),
        "allocatable": allocatable(spec.kind, spec.max_pods),
        "addresses": [
            {"type": "InternalIP", "address": spec.instance.private_ip},
            {"type": "InternalDNS", "address": spec.name},
            {"type": "Hostname", "address": spec.name},
        ],
        "conditions": node_conditions(now, since, ready=ready),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": node_info(spec),
    }


def node_conditions(now: float, since: float, *, ready: bool = True) -> list[dict[str, str]]:
    return [
        {
            "type": name,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": rfc3339(now),
            "lastTransitionTime": rfc3339(since),
        }
        for name, status, reason, message in (CONDITIONS if ready else FLAPPING_CONDITIONS)
    ]


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
