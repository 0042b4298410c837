"""What a node knows of itself: `machine.json`, written by the region's machines, and the user data in it.

The file is what the firmware and cloud-init of an EC2 instance would know. It lies at `/run/twinplane/machine.json`
in the machine; beside it `credentials.json` ({"accessKeyId", "secretAccessKey", "sessionToken", "expiration" in epoch
seconds}) has the instance role's keys and is renewed there before they expire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

RUN = Path("/run/twinplane")
MACHINE_FILE = RUN / "machine.json"
CREDENTIALS_FILE = RUN / "credentials.json"
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
IPAMD_SOCKET = RUN / "ipamd.sock"


@dataclass(frozen=True, slots=True)
class Machine:
    """JSON keys are the camelCase of these names."""

    instance_id: str
    instance_type: str
    image_id: str
    region: str
    availability_zone: str
    account_id: str
    vpc_id: str
    subnet_id: str
    network_interface_id: str
    private_ip: str
    private_dns_name: str
    cluster: str
    user_data: str
    aws_endpoint: str
    """`http://169.254.169.252`: EC2 and every other service, as the machine reaches it."""
    api_servers: tuple[str, ...]
    """URLs of the cluster's cross-account ENIs; their certificate is for `kubernetes.default.svc`."""
    host_address: str
    """The primary address as the host reaches it (edge)."""
    cgroup: str
    """Parent of the node's cgroups, e.g. `/twinplane/0a1b2c/i-0123`; pods go to `CGROUP/kubepods/...`."""
    vcpus: int
    memory_mebibytes: int
    root_volume_gibibytes: int
    instance_store: tuple[str, ...] = ()
    """Device or directory of each instance-store volume of the type."""
    tags: dict[str, str] = field(default_factory=dict)
    kubernetes_version: str = ""
    """Of the kubelet on its image: `v1.36.1-eks-...`."""
    max_pods: int = 110
    """What the type's interfaces have addresses for; the NodeConfig may say otherwise."""


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """Machine and user data (NodeConfig) put together: what kubelet, kube-proxy and CNI are configured with."""

    machine: Machine
    name: str
    """Of the Node object: the private DNS name."""
    provider_id: str
    """`aws:///ZONE/INSTANCE`."""
    certificate_authority: str
    """PEM of the cluster's."""
    kubernetes_version: str
    """`v1.36.x-eks-...`, as the simulated nodes report it."""
    service_cidr: str
    cluster_dns: str
    cluster_domain: str = "cluster.local"
    max_pods: int = 110
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    kubelet: dict[str, object] = field(default_factory=dict)
    """KubeletConfiguration fields of the NodeConfig (evictionHard, kubeReserved, ...)."""
