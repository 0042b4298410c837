"""The Node object and its Lease, as a kubelet on an EKS instance with the external cloud provider registers them.

Pure. Sources: kubelet `registerWithAPIServer` and `nodestatus` setters, nodeadm's kubelet flags, cloud-provider-aws
labels. The cloud controller later removes the `uninitialized` taint; labels that it would add are set here as well,
because the kubelet knows them from instance metadata.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from twinplane.clock import rfc3339, rfc3339_micro
from twinplane.dataplane.simulation.capacity import InstanceType, allocatable, capacity, default_max_pods
from twinplane.dataplane.simulation.instances import Instance
from twinplane.dataplane.simulation.userdata import NodeSettings
from twinplane.kubeclient.contract import Object

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
KUBELET_ENDPOINT_ANNOTATION = "twinplane.io/kubelet-endpoint"
UNINITIALIZED_TAINT = {
    "key": "node.cloudprovider.kubernetes.io/uninitialized",
    "value": "true",
    "effect": "NoSchedule",
}
PATCH_VERSION = {"1.33": 5, "1.34": 3, "1.35": 1, "1.36": 0}
CONTAINERD_VERSION = "2.1.5"
KERNEL_VERSION = "6.12.46-66.121.amzn2023"
OS_IMAGE = "Amazon Linux 2023.9.20251117"

# (type, status that is well, reason, message)
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
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
    instance, architecture = spec.instance, spec.kind.kubernetes_architecture
    zone = instance.availability_zone
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/instance-type": instance.instance_type,
        "beta.kubernetes.io/os": "linux",
        "failure-domain.beta.kubernetes.io/region": spec.region,
        "failure-domain.beta.kubernetes.io/zone": zone,
        "k8s.io/cloud-provider-aws": hashlib.md5(spec.region.encode(), usedforsecurity=False).hexdigest(),
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance.instance_type,
        "topology.k8s.aws/zone-id": spec.zone_id,
        "topology.kubernetes.io/region": spec.region,
        "topology.kubernetes.io/zone": zone,
        **spec.settings.labels,
    }


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


def lease_object(name: str, uid: str, period: float, now: float) -> Object:
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": lease_spec(name, period, now),
    }


def lease_spec(holder: str, period: float, now: float) -> dict[str, Any]:
    """The kubelet renews four times in a lease's 40 s. Where the period has grown with the fleet, twice must do: the
    control plane gives a node the time of its lease before it takes it for lost.
    """
    seconds = max(LEASE_SECONDS, int(2 * period))
    return {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": rfc3339_micro(now)}
