"""The objects of the add-ons, out of the manifests beside this file. Called by the composition for a cluster with a
VPC.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from string import Template
from typing import Any

import yaml

COREDNS_VERSION = "v1.12.4-eksbuild.1"
MANIFESTS = ("nodes.yaml", "coredns.yaml")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def coredns_image(region: str) -> str:
    """As the add-on names it; the region's registry has it (`images/own.py`)."""
    return f"602401143452.dkr.ecr.{region}.amazonaws.com/eks/coredns:{COREDNS_VERSION}"


def objects(region: str, service_cidr: str) -> list[dict[str, Any]]:
    """In the order in which they are to be made."""
    texts = [Path(__file__).with_name(name).read_text() for name in MANIFESTS]
    # As EKS has it: the tenth address of the range is the cluster's DNS server.
    cluster_dns = str(IPv4Network(service_cidr)[10])
    values = {"cluster_dns": cluster_dns, "image": coredns_image(region)}
    return [found for text in texts for found in yaml.load_all(Template(text).substitute(values), _LOADER)]
