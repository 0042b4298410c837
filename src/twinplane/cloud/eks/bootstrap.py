"""The user data of a managed node: what makes an EC2 instance join its cluster.

A MIME multi-part document whose part is a nodeadm `NodeConfig` (node.eks.aws/v1alpha1), as managed node groups on
AL2023 have it; with a launch template of the user, its own parts come first.
"""

from __future__ import annotations

import email
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

BOUNDARY = "//"
NODE_CONFIG_TYPE = "application/node.eks.aws"

_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything that differs between the nodes of two groups."""

    cluster: str
    endpoint: str
    certificate_authority: str
    service_cidr: str
    nodegroup: str
    image_id: str
    capacity_type: str
    max_pods: int
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    source_launch_template: tuple[str, str] | None = None
    """Id and version of the launch template that the user gave; None without one."""


def node_labels(settings: NodeSettings) -> dict[str, str]:
    source = settings.source_launch_template
    return {
        **({"eks.amazonaws.com/sourceLaunchTemplateVersion": source[1]} if source else {}),
        **settings.labels,
        "eks.amazonaws.com/nodegroup-image": settings.image_id,
        "eks.amazonaws.com/capacityType": settings.capacity_type,
        "eks.amazonaws.com/nodegroup": settings.nodegroup,
        **({"eks.amazonaws.com/sourceLaunchTemplateId": source[0]} if source else {}),
    }


def taint_text(taint: Mapping[str, str]) -> str:
    return f"{taint['key']}={taint.get('value', '')}:{_EFFECTS[taint['effect']]}"


def cluster_dns(service_cidr: str) -> str:
    return str(ipaddress.IPv4Network(service_cidr)[10])


def node_config(settings: NodeSettings) -> dict[str, Any]:
    labels = ",".join(f"{name}={value}" for name, value in node_labels(settings).items())
    flags = [f"--node-labels={labels}"]
    if settings.taints:
        flags.append(f"--register-with-taints={','.join(taint_text(taint) for taint in settings.taints)}")
    return {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "metadata": {},
        "spec": {
            "cluster": {
                "name": settings.cluster,
                "apiServerEndpoint": settings.endpoint,
                "certificateAuthority": settings.certificate_authority,
                "cidr": settings.service_cidr,
            },
            "kubelet": {
                "config": {"maxPods": settings.max_pods, "clusterDNS": [cluster_dns(settings.service_cidr)]},
                "flags": flags,
            },
        },
    }


def user_data(settings: NodeSettings, theirs: str = "") -> str:
    """The document, not yet base64-encoded. `theirs` is the user data of the user's launch template."""
    ours = (NODE_CONFIG_TYPE, yaml.safe_dump(node_config(settings), sort_keys=False, width=1 << 20))
    parts = [*_parts(theirs), ours]
    body = "".join(f"--{BOUNDARY}\nContent-Type: {kind}\n\n{content.rstrip()}\n\n" for kind, content in parts)
    return f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\n\n{body}--{BOUNDARY}--\n'


def _parts(document: str) -> list[tuple[str, str]]:
    if not document.strip():
        return []
    message = email.message_from_string(document)
    if not message.is_multipart():
        kind = "text/x-shellscript" if document.startswith("#!") else NODE_CONFIG_TYPE
        return [(kind, document)]
    return [
        (str(part["Content-Type"] or "text/plain"), str(part.get_payload()))
        for part in message.walk()
        if not part.is_multipart()
    ]
