"""Kubernetes versions that EKS offers here, their node images, and what is published about them.

Dates are those of the Amazon EKS release calendar. Image ids are derived from region, version and architecture, so
that they are the same in every account and after every restart, as public images are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KubernetesVersion:
    version: str
    patch: str
    """The patch release that the control plane and the nodes run."""
    platform_version: str
    released: str
    """Date of the EKS release, as are the two below: YYYY-MM-DD."""
    standard_support_ends: str
    extended_support_ends: str
    image_release: str
    """The date in the names of the AMI and of the node group's release version."""


VERSIONS = (
    KubernetesVersion("1.36", "1.36.1", "eks.4", "2026-06-02", "2027-08-02", "2028-08-02", "20261112"),
    KubernetesVersion("1.35", "1.35.4", "eks.14", "2026-01-27", "2027-03-27", "2028-03-27", "20261112"),
    KubernetesVersion("1.34", "1.34.7", "eks.23", "2025-10-02", "2026-12-02", "2027-12-02", "20261112"),
    KubernetesVersion("1.33", "1.33.11", "eks.33", "2025-05-29", "2026-07-29", "2027-07-29", "20261112"),
)
"""Newest first; the first one is the default."""

DEFAULT_VERSION = VERSIONS[0].version
_BY_VERSION = {entry.version: entry for entry in VERSIONS}


def find(version: str) -> KubernetesVersion | None:
    return _BY_VERSION.get(version)


def follows(current: str, wanted: str) -> bool:
    """Whether `wanted` is the minor version right after `current`: EKS updates one minor version at a time."""
    return _minor(wanted) == _minor(current) + 1


def is_older(version: str, other: str) -> bool:
    return _minor(version) < _minor(other)


def _minor(version: str) -> int:
    return int(version.split(".")[1])


@dataclass(frozen=True, slots=True)
class NodeImage:
    version: str
    ami_type: str
    architecture: str
    name: str
    description: str
    image_id: str


_FAMILIES = {
    # ami type: (architecture of EC2, family in the name of the image)
    "AL2023_x86_64_STANDARD": ("x86_64", "amazon-eks-node-al2023-x86_64-standard"),
    "AL2023_ARM_64_STANDARD": ("arm64", "amazon-eks-node-al2023-arm64-standard"),
    "AL2023_x86_64_NVIDIA": ("x86_64", "amazon-eks-node-al2023-x86_64-nvidia"),
    "AL2023_x86_64_NEURON": ("x86_64", "amazon-eks-node-al2023-x86_64-neuron"),
    "BOTTLEROCKET_x86_64": ("x86_64", "bottlerocket-aws-k8s-x86_64"),
    "BOTTLEROCKET_ARM_64": ("arm64", "bottlerocket-aws-k8s-aarch64"),
}


def node_images(region: str) -> Iterator[NodeImage]:
    for entry in VERSIONS:
        for ami_type in _FAMILIES:
            image = node_image(region, entry.version, ami_type)
            if image:
                yield image


def node_image(region: str, version: str, ami_type: str) -> NodeImage | None:
    """The newest EKS-optimised image, None for a version or AMI type that is not offered."""
    entry, family = find(version), _FAMILIES.get(ami_type)
    if entry is None or family is None:
        return None
    architecture, prefix = family
    name = f"{prefix}-{version}-v{entry.image_release}"
    digest = hashlib.sha256(f"{region}/{name}".encode()).hexdigest()
    system = "Bottlerocket" if prefix.startswith("bottlerocket") else "Amazon Linux 2023"
    description = f"EKS-optimized Kubernetes node based on {system}, (k8s: {entry.patch}, containerd: 2.1.*)"
    return NodeImage(version, ami_type, architecture, name, description, f"ami-{digest[:17]}")


def kubelet_version(region: str, image_id: str) -> str:
    """What the kubelet of a node image says of itself; of an image that is not ours, that of the default version."""
    ours = (image.version for image in node_images(region) if image.image_id == image_id)
    entry = _BY_VERSION[next(ours, DEFAULT_VERSION)]
    return f"v{entry.patch}-eks-3abbec1"


def release_version(version: str) -> str:
    """`releaseVersion` of a managed node group on the newest image, e.g. `1.36.1-20261112`."""
    entry = _BY_VERSION[version]
    return f"{entry.patch}-{entry.image_release}"
