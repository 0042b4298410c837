"""What a node of an instance type has, and what is left for pods, as the EKS AMI works it out.

Sources: nodeadm (`kubelet` configuration: kube-reserved memory 255 MiB + 11 MiB a pod; CPU 6% of the first core, 1% of
the second, 0.5% of the next two, 0.25% of the rest; eviction at 100 MiB of memory, 10% of the disk, 5% of inodes) and
the VPC CNI's limit of pods for instance types whose node group says none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.csi_node import volume_limit

MEBIBYTE = 1024 * 1024
DISK_BYTES = 20 * 1024**3
DISK_USABLE_SHARE = 0.9942
"""A 20 GiB volume formatted with XFS reports about 0.6% less, 20845Mi-ish: what `kubectl describe node` shows."""
EVICTION_MEMORY_MIB = 100
RESERVED_DISK_BYTES = 1024**3
MEMORY_SEEN_SHARE = 0.965
"""The kernel and firmware keep some memory: a 8192 MiB instance reports about 7900 MiB."""
CPU_RESERVED_STEPS = ((1, 60), (1, 10), (2, 5))
"""(cores, thousandths of a core reserved of each), then `CPU_RESERVED_REST` quarter-thousandths."""
CPU_RESERVED_REST = 2.5


@dataclass(frozen=True, slots=True)
class InstanceType:
    name: str
    vcpus: int
    memory_mib: int
    interfaces: int
    addresses_per_interface: int
    architecture: str
    """As EC2 says: x86_64 or arm64."""
    volumes: int
    """Of claims, that the EBS CSI driver lets a node have that starts with one interface."""

    @property
    def kubernetes_architecture(self) -> str:
        return "amd64" if self.architecture == "x86_64" else self.architecture


def parse_instance_type(name: str, facts: dict[str, Any]) -> InstanceType:
    return InstanceType(
        name=name,
        vcpus=int(facts["vcpus"]),
        memory_mib=int(facts["memoryMiB"]),
        interfaces=int(facts["enis"]),
        addresses_per_interface=int(facts["ipv4PerEni"]),
        architecture=str(facts["architecture"]),
        volumes=volume_limit(facts),
    )


def default_max_pods(kind: InstanceType) -> int:
    limit = kind.interfaces * (kind.addresses_per_interface - 1) + 2
    return min(limit, 110 if kind.vcpus <= 30 else 250)


def reserved_cpu_milli(vcpus: int) -> int:
    reserved, left = 0.0, vcpus
    for cores, each in CPU_RESERVED_STEPS:
        taken = min(cores, left)
        reserved += taken * each
        left -= taken
    return int(reserved + left * CPU_RESERVED_REST)


def reserved_memory_mib(max_pods: int) -> int:
    return 255 + 11 * max_pods


def capacity(kind: InstanceType, max_pods: int) -> dict[str, str]:
    return {
        "cpu": str(kind.vcpus),
        "memory": f"{_memory_kib(kind)}Ki",
        "ephemeral-storage": f"{int(DISK_BYTES * DISK_USABLE_SHARE) // 1024}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(max_pods),
    }


def allocatable(kind: InstanceType, max_pods: int) -> dict[str, str]:
    memory_kib = _memory_kib(kind) - (reserved_memory_mib(max_pods) + EVICTION_MEMORY_MIB) * 1024
    disk = int(DISK_BYTES * DISK_USABLE_SHARE)
    return {
        "cpu": f"{kind.vcpus * 1000 - reserved_cpu_milli(kind.vcpus)}m",
        "memory": f"{memory_kib}Ki",
        "ephemeral-storage": str(disk - disk // 10 - RESERVED_DISK_BYTES),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(max_pods),
    }


def _memory_kib(kind: InstanceType) -> int:
    return int(kind.memory_mib * MEMORY_SEEN_SHARE) * 1024
