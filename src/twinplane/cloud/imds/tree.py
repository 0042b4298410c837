"""The metadata of an instance as the tree that its paths walk, pure. Source: "Instance metadata categories" of EC2's
guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twinplane.cloud.imds.facts import Facts, Interface

Tree = Mapping[str, Any]
"""A text, or the entries of a directory."""
VERSIONS = ("1.0", "2021-03-23", "2022-09-24", "latest")


def lookup(tree: Tree, path: str) -> str | None:
    """The text at a path, or the listing of a directory (its entries, directories with a slash)."""
    found: Any = tree
    for part in filter(None, path.split("/")):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    if not isinstance(found, Mapping):
        return str(found)
    return "\n".join(f"{name}/" if isinstance(entry, Mapping) else name for name, entry in found.items())


def tree_of(facts: Facts, credentials: Mapping[str, str] | None) -> Tree:
    """Everything below `/VERSION/`. `credentials` are those of the instance's role, as IMDS words them."""
    tree: dict[str, Any] = {"dynamic": {"instance-identity": {"document": json.dumps(_document(facts), indent=2)}}}
    tree["meta-data"] = _meta_data(facts, credentials)
    if facts.user_data:
        tree["user-data"] = facts.user_data
    return tree


def _meta_data(facts: Facts, credentials: Mapping[str, str] | None) -> dict[str, Any]:
    primary = facts.interfaces[0]
    tree: dict[str, Any] = {
        "ami-id": facts.image_id,
        "ami-launch-index": facts.launch_index,
        "hostname": facts.private_dns_name,
        "instance-action": "none",
        "instance-id": facts.instance_id,
        "instance-life-cycle": "on-demand",
        "instance-type": facts.instance_type,
        "local-hostname": facts.private_dns_name,
        "local-ipv4": primary.addresses[0],
        "mac": primary.mac,
        "network": {"interfaces": {"macs": {each.mac: _interface(each) for each in facts.interfaces}}},
        "placement": {
            "availability-zone": facts.availability_zone,
            "availability-zone-id": facts.availability_zone_id,
            "region": facts.region,
        },
        "reservation-id": facts.reservation_id,
        "security-groups": "\n".join(name for _, name in primary.security_groups),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if primary.public_addresses:
        tree |= {"public-hostname": facts.public_dns_name, "public-ipv4": primary.public_addresses[0]}
    if facts.role:
        tree["iam"] = {
            "info": json.dumps(
                {
                    "Code": "Success",
                    "LastUpdated": facts.launch_time,
                    "InstanceProfileArn": facts.profile_arn,
                    "InstanceProfileId": facts.profile_id,
                },
                indent=2,
            ),
            "security-credentials": {facts.role: json.dumps(dict(credentials or {}), indent=2)},
        }
    if facts.tags_enabled:
        tree["tags"] = {"instance": dict(facts.tags)}
    return dict(sorted(tree.items()))


def _interface(interface: Interface) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "device-number": interface.device_number,
        "interface-id": interface.interface_id,
        "local-hostname": interface.private_dns_name,
        "local-ipv4s": "\n".join(interface.addresses),
        "mac": interface.mac,
        "owner-id": interface.owner_id,
        "security-group-ids": "\n".join(group for group, _ in interface.security_groups),
        "security-groups": "\n".join(name for _, name in interface.security_groups),
        "subnet-id": interface.subnet_id,
        "subnet-ipv4-cidr-block": interface.subnet_cidr,
        "vpc-id": interface.vpc_id,
        "vpc-ipv4-cidr-block": interface.vpc_cidrs[0],
        "vpc-ipv4-cidr-blocks": "\n".join(interface.vpc_cidrs),
    }
    if interface.public_addresses:
        tree["public-ipv4s"] = "\n".join(interface.public_addresses)
    return tree


def _document(facts: Facts) -> dict[str, Any]:
    return {
        "accountId": facts.account_id,
        "architecture": facts.architecture,
        "availabilityZone": facts.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": facts.image_id,
        "instanceId": facts.instance_id,
        "instanceType": facts.instance_type,
        "kernelId": None,
        "pendingTime": facts.launch_time,
        "privateIp": facts.interfaces[0].addresses[0],
        "ramdiskId": None,
        "region": facts.region,
        "version": "2017-09-30",
    }
