"""A node's configuration, out of what the region wrote into the machine and the NodeConfig in its user data.

Called by the agent when it starts. As nodeadm does: the documents of the user data are merged in order, flags of the
kubelet win over its configuration, and what nothing says follows from the machine.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from twinplane.dataplane.node.contract import MACHINE_FILE, Machine, NodeConfiguration
from twinplane.dataplane.userdata import node_configs, node_settings

DEFAULT_SERVICE_CIDR = "10.100.0.0/16"
_SEQUENCES = ("apiServers", "instanceStore")


class BadMachine(Exception):
    """The file or the user data cannot make a node; the message says what is missing."""


def load(path: Path = MACHINE_FILE) -> NodeConfiguration:
    """Raises `BadMachine`."""
    try:
        return node_configuration(parse_machine(json.loads(path.read_text())))
    except (OSError, ValueError) as error:
        raise BadMachine(f"{path}: {error}") from error


def parse_machine(record: Mapping[str, Any]) -> Machine:
    """Keys of other names are ignored: the region may be newer than the node. Raises `BadMachine`."""
    values: dict[str, Any] = {}
    for item in fields(Machine):
        key = _camel(item.name)
        if key in record:
            values[item.name] = tuple(record[key]) if key in _SEQUENCES else record[key]
    try:
        return Machine(**values)
    except TypeError as error:
        raise BadMachine(str(error)) from error


def node_configuration(machine: Machine) -> NodeConfiguration:
    settings = node_settings(machine.user_data)
    cluster: dict[str, Any] = {}
    kubelet: dict[str, Any] = {}
    for document in node_configs(machine.user_data):
        spec = document.get("spec") or {}
        cluster |= spec.get("cluster") or {}
        kubelet |= (spec.get("kubelet") or {}).get("config") or {}
    if not cluster.get("certificateAuthority"):
        raise BadMachine("the user data has no NodeConfig with a cluster in it")
    cidr = str(cluster.get("cidr") or DEFAULT_SERVICE_CIDR)
    servers = kubelet.get("clusterDNS") or [str(IPv4Network(cidr)[10])]
    return NodeConfiguration(
        machine=machine,
        name=machine.private_dns_name,
        provider_id=f"aws:///{machine.availability_zone}/{machine.instance_id}",
        certificate_authority=base64.b64decode(cluster["certificateAuthority"]).decode(),
        kubernetes_version=machine.kubernetes_version,
        service_cidr=cidr,
        cluster_dns=str(servers[0]),
        cluster_domain=str(kubelet.get("clusterDomain") or "cluster.local"),
        max_pods=settings.max_pods if settings.max_pods is not None else machine.max_pods,
        labels=settings.labels,
        taints=settings.taints,
        kubelet=kubelet,
    )


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
