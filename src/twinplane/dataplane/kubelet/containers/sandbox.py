"""The configuration of a pod's sandbox. Pure. Source: kubelet `generatePodSandboxConfig`."""

from __future__ import annotations

from typing import Any

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.containers.resources import (
    PERIOD_MICROSECONDS,
    amounts,
    pod_limits,
    pod_requests,
    quota,
    shares,
)
from twinplane.dataplane.kubelet.containers.security import sandbox_security
from twinplane.dataplane.kubelet.contract import log_directory
from twinplane.dataplane.kubelet.pods.spec import all_containers, is_host_network
from twinplane.dataplane.kubelet.pods.state import POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, labels_of, name_of, namespace_of, uid_of

PROTOCOLS = {"TCP": cri.TCP, "UDP": cri.UDP, "SCTP": cri.SCTP}


def pod_labels(pod: Object) -> dict[str, str]:
    """By which what runs is found again."""
    return {POD_NAME_LABEL: name_of(pod), POD_NAMESPACE_LABEL: namespace_of(pod), POD_UID_LABEL: uid_of(pod)}


def sandbox_config(
    pod: Object, attempt: int, hostname: str, dns: cri.DNSConfig, cgroup_parent: str
) -> cri.PodSandboxConfig:
    name, namespace, uid = name_of(pod), namespace_of(pod), uid_of(pod)
    privileged = any((item.get("securityContext") or {}).get("privileged") for _, item in all_containers(pod))
    context = pod["spec"].get("securityContext") or {}
    asked, limited = pod_requests(pod), pod_limits(pod)
    made = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, namespace=namespace, uid=uid, attempt=attempt),
        hostname="" if is_host_network(pod) else hostname,
        log_directory=str(log_directory(namespace, name, uid)),
        dns_config=dns,
        port_mappings=[] if is_host_network(pod) else port_mappings(pod),
        labels={**labels_of(pod), **pod_labels(pod)},
        annotations=dict(annotations_of(pod)),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=sandbox_security(pod, privileged=privileged),
            sysctls={item["name"]: item["value"] for item in context.get("sysctls") or ()},
            resources=_resources(asked, limited),
        ),
    )
    overhead = amounts(pod["spec"].get("overhead"))
    if overhead:
        made.linux.overhead.CopyFrom(_resources(overhead, overhead))
    return made


def port_mappings(pod: Object) -> list[cri.PortMapping]:
    """Ports on the node, for the CNI plugin."""
    ports: list[dict[str, Any]] = [
        port for _, container in all_containers(pod) for port in container.get("ports") or () if port.get("hostPort")
    ]
    return [
        cri.PortMapping(
            protocol=PROTOCOLS.get(port.get("protocol") or "TCP", cri.TCP),
            container_port=int(port["containerPort"]),
            host_port=int(port["hostPort"]),
            host_ip=port.get("hostIP") or "",
        )
        for port in ports
    ]


def _resources(asked: dict[str, int], limited: dict[str, int]) -> cri.LinuxContainerResources:
    return cri.LinuxContainerResources(
        cpu_period=PERIOD_MICROSECONDS,
        cpu_quota=quota(limited.get("cpu", 0)),
        cpu_shares=shares(asked.get("cpu", 0)),
        memory_limit_in_bytes=limited.get("memory", 0),
    )
