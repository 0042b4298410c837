"""The Node object of a real node: what the machine is, what of it pods may have, how it does. Pure but for `host_info`.

Capacity is the machine's (`Machine`), not the host's; what is kept back follows nodeadm's formulas and the NodeConfig's
kubeReserved, systemReserved and evictionHard.
"""

from __future__ import annotations

import hashlib
import platform
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.dataplane.capacity import (
    DISK_USABLE_SHARE,
    EVICTION_MEMORY_MIB,
    MEBIBYTE,
    MEMORY_SEEN_SHARE,
    RESERVED_DISK_BYTES,
    reserved_cpu_milli,
    reserved_memory_mib,
)
from twinplane.dataplane.kubelet.node.facts import RESOLV_CONF, NodeFacts
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.dataplane.node_records import (
    CLOUD_PROVIDER_LABEL,
    CONDITIONS,
    UNINITIALIZED_TAINT,
    instance_labels,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import milli, whole

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KUBELET_PORT = 10250
IMAGES_MAX = 50
NAMES_MAX = 5
PRESSURES = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


class HostInfo(NamedTuple):
    kernel: str
    os_image: str
    machine: str
    """As `uname -m`."""


class Health(NamedTuple):
    """What the conditions are made of."""

    not_ready: str
    """Why the node is not ready; empty when it is."""
    pressures: frozenset[str]


def host_info() -> HostInfo:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    return HostInfo(platform.release(), named.get("PRETTY_NAME", "Linux").strip('"'), platform.machine())


def node_facts(configuration: NodeConfiguration) -> NodeFacts:
    try:
        apparmor = APPARMOR.read_text().startswith("Y")
    except OSError:
        apparmor = False
    return NodeFacts(
        name=configuration.name,
        ips=(configuration.machine.private_ip,),
        capacity=capacity(configuration),
        allocatable=allocatable(configuration),
        cluster_dns=configuration.cluster_dns,
        cluster_domain=configuration.cluster_domain,
        resolv_conf=Path(str(configuration.kubelet.get("resolvConf") or RESOLV_CONF)),
        apparmor=apparmor,
    )


# -- capacity --------------------------------------------------------------------------------------------------------


def capacity(configuration: NodeConfiguration) -> dict[str, str]:
    machine = configuration.machine
    return {
        "cpu": str(machine.vcpus),
        "memory": f"{int(machine.memory_mebibytes * MEMORY_SEEN_SHARE) * 1024}Ki",
        "ephemeral-storage": f"{_disk_bytes(configuration) // 1024}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(configuration.max_pods),
    }


def allocatable(configuration: NodeConfiguration) -> dict[str, str]:
    machine, kubelet = configuration.machine, configuration.kubelet
    kept = {
        "cpu": f"{reserved_cpu_milli(machine.vcpus)}m",
        "memory": f"{reserved_memory_mib(configuration.max_pods)}Mi",
        "ephemeral-storage": str(RESERVED_DISK_BYTES),
        **_table(kubelet.get("kubeReserved")),
    }
    system, hard = _table(kubelet.get("systemReserved")), _table(kubelet.get("evictionHard"))
    memory = int(machine.memory_mebibytes * MEMORY_SEEN_SHARE) * MEBIBYTE
    disk = _disk_bytes(configuration)
    memory_floor = _threshold(hard.get("memory.available", f"{EVICTION_MEMORY_MIB}Mi"), memory)
    disk_floor = _threshold(hard.get("nodefs.available", "10%"), disk)
    left_memory = memory - whole(kept["memory"]) - whole(system.get("memory", "0")) - memory_floor
    left_disk = disk - whole(kept["ephemeral-storage"]) - whole(system.get("ephemeral-storage", "0")) - disk_floor
    return {
        "cpu": f"{max(machine.vcpus * 1000 - milli(kept['cpu']) - milli(system.get('cpu', '0')), 0)}m",
        "memory": f"{max(left_memory, 0) // 1024}Ki",
        "ephemeral-storage": str(max(left_disk, 0)),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(configuration.max_pods),
    }


def _disk_bytes(configuration: NodeConfiguration) -> int:
    return int(configuration.machine.root_volume_gibibytes * 1024**3 * DISK_USABLE_SHARE)


def _table(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def _threshold(text: str, of: int) -> int:
    return int(of * float(text[:-1]) / 100) if text.endswith("%") else whole(text)


# -- the object ------------------------------------------------------------------------------------------------------


def node_object(configuration: NodeConfiguration, host: HostInfo, status: dict[str, Any]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": configuration.name,
            "labels": node_labels(configuration, host),
            "annotations": node_annotations(configuration),
        },
        "spec": {"providerID": configuration.provider_id, "taints": [UNINITIALIZED_TAINT, *configuration.taints]},
        "status": status,
    }


def node_labels(configuration: NodeConfiguration, host: HostInfo) -> dict[str, str]:
    machine = configuration.machine
    base = instance_labels(
        configuration.name,
        instance_type=machine.instance_type,
        architecture=ARCHITECTURES.get(host.machine, host.machine),
        region=machine.region,
        zone=machine.availability_zone,
    )
    # A node may not give itself this one (NodeRestriction); the cloud controller does.
    del base[CLOUD_PROVIDER_LABEL]
    return base | configuration.labels


def node_annotations(configuration: NodeConfiguration) -> dict[str, str]:
    return {
        "alpha.kubernetes.io/provided-node-ip": configuration.machine.private_ip,
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    }


def node_info(configuration: NodeConfiguration, host: HostInfo, runtime: str, boot_id: str) -> dict[str, str]:
    """`runtime` is e.g. `containerd://1.6.20`; `boot_id` changes with each boot of the machine."""
    instance = configuration.machine.instance_id
    return {
        "machineID": "ec2" + hashlib.sha256(instance.encode()).hexdigest()[:29],
        "systemUUID": str(uuid.uuid5(uuid.NAMESPACE_OID, instance)),
        "bootID": boot_id,
        "kernelVersion": host.kernel,
        "osImage": host.os_image,
        "containerRuntimeVersion": runtime,
        "kubeletVersion": configuration.kubernetes_version,
        "operatingSystem": "linux",
        "architecture": ARCHITECTURES.get(host.machine, host.machine),
    }


def boot_id(instance_id: str) -> str:
    """Of this boot of the machine: when its PID 1 was started."""
    try:
        started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = ""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{instance_id}/{started}"))


def conditions(health: Health, before: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    known = {item["type"]: item for item in before}
    made = []
    for name, well, usual_reason, usual_message in CONDITIONS:
        status, reason, message = well, usual_reason, usual_message
        if name == "Ready" and health.not_ready:
            status, reason, message = "False", "KubeletNotReady", health.not_ready
        elif name in health.pressures:
            status, (reason, message) = "True", PRESSURES[name]
        old = known.get(name)
        since = old.get("lastTransitionTime") if old is not None and old.get("status") == status else None
        made.append(
            {
                "type": name,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": since or rfc3339(now),
            }
        )
    return made


def images(found: list[Any]) -> list[dict[str, Any]]:
    """The largest, as upstream reports them. `found` are CRI's images."""
    largest = sorted(found, key=lambda image: int(image.size), reverse=True)[:IMAGES_MAX]
    return [
        {"names": [*image.repo_digests, *image.repo_tags][:NAMES_MAX], "sizeBytes": int(image.size)}
        for image in largest
        if image.repo_digests or image.repo_tags
    ]
