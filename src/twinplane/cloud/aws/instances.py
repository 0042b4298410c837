"""EC2 instances as the rest of the region sees them: moto's objects read into `Instance` records.

A `View` is immutable and made in moto's thread after a change, so readers on the event loop never meet a half-made one.
"""

from __future__ import annotations

import binascii
import re
import sys
from datetime import UTC
from functools import cached_property, lru_cache
from typing import Any

from twinplane.cloud.aws import lifecycle
from twinplane.cloud.contract import Instance
from twinplane.cloud.network.max_pods import address_limit, max_pods

FORGET_TERMINATED_SECONDS = 3600
"""EC2 shows terminated instances for about an hour."""

_CLUSTER_TAG = "eks:cluster-name"
_OWNED_PREFIX = "kubernetes.io/cluster/"
_RUNTIME = "twinplane.io/runtime"
_RUNTIME_LABEL = re.compile(r"--node-labels=\S*?twinplane\.io/runtime=([a-z]+)")
"""In a NodeConfig, or in the arguments of a bootstrap script."""


class View:
    """All instances at one moment, with an index of addresses that is made when it is first asked for."""

    def __init__(self, instances: tuple[Instance, ...], secondary: tuple[tuple[str, ...], ...] = ()) -> None:
        self.instances = instances
        self._secondary = secondary or ((),) * len(instances)
        """Of each instance: the addresses of its interfaces besides the primary one."""

    def by_address(self, vpc_id: str, address: str) -> Instance | None:
        return self._addresses.get((vpc_id, address))

    @cached_property
    def _addresses(self) -> dict[tuple[str, str], Instance]:
        found: dict[tuple[str, str], Instance] = {}
        for instance, others in zip(self.instances, self._secondary, strict=True):
            if instance.state == "running":
                for address in (instance.private_ip, *others):
                    found[instance.vpc_id, address] = instance
        return found


def read(account_id: str, region: str, now: float) -> View:
    """In moto's thread. Forgets instances that were terminated over an hour ago."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[account_id][region]
    _forget_terminated(backend, now)
    leaving = lifecycle.leaving(account_id, region)
    instances, secondary = [], []
    for reservation in backend.reservations.values():
        for instance in reservation.instances:
            instances.append(_instance(backend, instance, leaving=instance.id in leaving))
            secondary.append(
                tuple(
                    record["PrivateIpAddress"]
                    for interface in instance.nics.values()
                    for record in interface.private_ip_addresses
                )
            )
    return View(tuple(instances), tuple(secondary))


def _forget_terminated(backend: Any, now: float) -> None:
    for key, reservation in list(backend.reservations.items()):
        kept = [instance for instance in reservation.instances if not _forgettable(instance, now)]
        if len(kept) < len(reservation.instances):
            reservation.instances = kept
        if not kept:
            del backend.reservations[key]


def _forgettable(instance: Any, now: float) -> bool:
    ended = getattr(instance, "terminated_at", None)
    return ended is not None and now - ended.replace(tzinfo=UTC).timestamp() > FORGET_TERMINATED_SECONDS


def _instance(backend: Any, instance: Any, *, leaving: bool) -> Instance:
    tags = dict(backend.tags.get(instance.id, {}))
    user_data = _decoded(instance.user_data)
    interface = instance.nics.get(0)
    return Instance(
        instance_id=instance.id,
        state=instance.state,
        instance_type=instance.instance_type,
        image_id=instance.image_id or "",
        private_ip=interface.private_ip_address if interface else "",
        private_dns_name=interface.private_dns_name if interface else "",
        vpc_id=interface.subnet.vpc_id if interface else "",
        subnet_id=interface.subnet.id if interface else "",
        availability_zone=instance.placement.zone or "",
        network_interface_id=interface.id if interface else "",
        launch_time=instance.launch_time.replace(tzinfo=UTC).timestamp(),
        tags=tags,
        user_data=user_data,
        cluster=_cluster(tags),
        runtime=tags.get(_RUNTIME) or _runtime_label(user_data),
        role=_role(backend, instance.id),
        root_volume_gibibytes=_root_volume(instance),
        boots=getattr(instance, "twinplane_boots", 0),
        leaving=leaving,
        availability_zone_id=interface.subnet._availability_zone.zone_id if interface else "",
    )


@lru_cache(maxsize=256)
def _runtime_label(user_data: str) -> str:
    found = _RUNTIME_LABEL.search(user_data)
    return found[1] if found else ""


def _role(backend: Any, instance_id: str) -> str:
    association = backend.iam_instance_profile_associations.get(instance_id)
    roles = association.iam_instance_profile.roles if association else ()
    return str(roles[0].name) if roles else ""


def _root_volume(instance: Any) -> int:
    device = instance.block_device_mapping.get(instance.root_device_name)
    mapping = device or next(iter(instance.block_device_mapping.values()), None)
    return int(getattr(mapping, "size", 0) or 0)


def _decoded(user_data: Any) -> str:
    if not user_data:
        return ""
    try:
        # The same text for all nodes of a group: keep one copy.
        return sys.intern(user_data.decode())
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _cluster(tags: dict[str, str]) -> str:
    if _CLUSTER_TAG in tags:
        return tags[_CLUSTER_TAG]
    owned = (key.removeprefix(_OWNED_PREFIX) for key in tags if key.startswith(_OWNED_PREFIX))
    return next(owned, "")


def instance_type(name: str) -> dict[str, Any] | None:
    """Facts of an instance type as `/_twinplane/instance-types/TYPE` answers them; None for an unknown type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    facts = INSTANCE_TYPES.get(name)
    if facts is None:
        return None
    network, vcpus = facts["NetworkInfo"], facts["VCpuInfo"]["DefaultVCpus"]
    interfaces = network["NetworkCards"][0]["MaximumNetworkInterfaces"] if network.get("NetworkCards") else 0
    interfaces = interfaces or network["MaximumNetworkInterfaces"]
    addresses = network["Ipv4AddressesPerInterface"]
    architectures = facts["ProcessorInfo"]["SupportedArchitectures"]
    return {
        "instanceType": name,
        "vcpus": vcpus,
        "memoryMiB": facts["MemoryInfo"]["SizeInMiB"],
        "enis": interfaces,
        "ipv4PerEni": addresses,
        "architecture": "arm64" if "arm64" in architectures else "x86_64",
        "maxPods": max_pods(interfaces, addresses, vcpus),
        "addressLimit": address_limit(interfaces, addresses),
        "gpus": sum(gpu.get("Count", 0) for gpu in facts.get("GpuInfo", {}).get("Gpus", [])),
        "instanceStores": [
            disk["SizeInGB"]
            for disk in facts.get("InstanceStorageInfo", {}).get("Disks", [])
            for _ in range(disk.get("Count", 1))
        ],
        "ebsAttachments": facts.get("EbsInfo", {}).get("MaximumEbsAttachments", 0),
        "ebsAttachmentLimit": facts.get("EbsInfo", {}).get("AttachmentLimitType", "shared"),
        "instanceStorageGB": facts.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        "currentGeneration": facts.get("CurrentGeneration", False),
        "hypervisor": facts.get("Hypervisor", ""),
    }
