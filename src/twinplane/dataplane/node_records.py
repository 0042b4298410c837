"""What the Node objects and Leases of simulated and real nodes have in common. Pure.

Sources: kubelet `registerWithAPIServer`, `nodestatus` setters, cloud-provider-aws labels, KEP-589 (leases).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from twinplane.clock import rfc3339_micro
from twinplane.kubeclient.contract import Object

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
CLOUD_PROVIDER_LABEL = "k8s.io/cloud-provider-aws"
KUBELET_ENDPOINT_ANNOTATION = "twinplane.io/kubelet-endpoint"
UNINITIALIZED_TAINT = {
    "key": "node.cloudprovider.kubernetes.io/uninitialized",
    "value": "true",
    "effect": "NoSchedule",
}
# (type, status that is well, reason, message)
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def instance_labels(
    name: str, *, instance_type: str, architecture: str, region: str, zone: str, zone_id: str = ""
) -> dict[str, str]:
    """What kubelet and cloud controller label a node of EC2 with; the kubelet knows all of it from metadata.

    `architecture` is Kubernetes' (amd64). Without a `zone_id` that label is left to the cloud controller.
    """
    labels = {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/instance-type": instance_type,
        "beta.kubernetes.io/os": "linux",
        "failure-domain.beta.kubernetes.io/region": region,
        "failure-domain.beta.kubernetes.io/zone": zone,
        CLOUD_PROVIDER_LABEL: hashlib.md5(region.encode(), usedforsecurity=False).hexdigest(),
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.k8s.aws/zone-id": zone_id,
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
    }
    return {key: value for key, value in labels.items() if value or key != "topology.k8s.aws/zone-id"}


def extended_resources(amounts: Mapping[str, str] | None) -> dict[str, str]:
    """Those that others than the kubelet advertise: named by a domain, but for kubernetes.io."""
    return {name: amount for name, amount in (amounts or {}).items() if "/" in name and "kubernetes.io/" not in name}


def allocatable_change(status: Mapping[str, Any]) -> dict[str, str | None]:
    """What a patch must make of a node's extended resources: pods may have all of them, as the kubelet sees to
    (`nodestatus.MachineInfo`). Whoever advertises one writes only the capacity; None: it is no longer there.
    """
    there, offered = extended_resources(status.get("allocatable")), extended_resources(status.get("capacity"))
    return {} if there == offered else {**dict.fromkeys(there), **offered}


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
