"""An AWS account in memory, as far as simulated nodes look: instances, interfaces, addresses of one subnet.

It answers what `dataplane.simulation` and the node controller ask of a region, so `twinplane.testing.cluster` has nodes
without a region. Types of instances are computed from their family and size, as AWS builds them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network
from itertools import islice
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from twinplane.dataplane.aws import AwsError

POLL_SECONDS = 30
RESERVED_ADDRESSES = 3
"""AWS keeps the first addresses of a subnet: router, DNS, future use."""

_MEMORY_MIB_PER_VCPU = {"c": 2048, "m": 4096, "r": 8192}
_SIZES = {
    "medium": (1, 2, 4),
    "large": (2, 3, 10),
    "xlarge": (4, 4, 15),
    "2xlarge": (8, 4, 15),
    "4xlarge": (16, 8, 30),
    "8xlarge": (32, 8, 30),
    "12xlarge": (48, 8, 30),
    "16xlarge": (64, 15, 50),
    "24xlarge": (96, 15, 50),
}
"""(vCPUs, interfaces, addresses an interface) of the c, m and r families."""
_BURSTABLE = {
    "micro": (2, 1024, 2, 2),
    "small": (2, 2048, 3, 4),
    "medium": (2, 4096, 3, 6),
    "large": (2, 8192, 3, 12),
    "xlarge": (4, 16384, 4, 15),
    "2xlarge": (8, 32768, 4, 15),
}
"""(vCPUs, MiB, interfaces, addresses an interface) of the t family."""


def instance_type_facts(name: str) -> dict[str, Any]:
    """What the region's own API says of `m5.large` and its like. Raises `AwsError` for a type that is not known."""
    family, _, size = name.partition(".")
    architecture = "arm64" if "g" in family[1:] else "x86_64"
    if family[:1] == "t" and size in _BURSTABLE:
        vcpus, memory, interfaces, addresses = _BURSTABLE[size]
    elif family[:1] in _MEMORY_MIB_PER_VCPU and size in _SIZES:
        vcpus, interfaces, addresses = _SIZES[size]
        memory = vcpus * _MEMORY_MIB_PER_VCPU[family[0]]
    else:
        raise AwsError("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")
    return {
        "vcpus": vcpus,
        "memoryMiB": memory,
        "enis": interfaces,
        "ipv4PerEni": addresses,
        "architecture": architecture,
    }


class MemoryAccount:
    """Implements `Aws`. `instances` is changed through `start` and `stop`, which wake the feed."""

    def __init__(self, subnet: str = "10.0.12.0/24", *, region: str = "us-west-2", cluster: str = "demo") -> None:
        self.revision = 1
        self.instances: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, set[str]] = {}
        self.attached: dict[str, str] = {}
        self.calls: list[str] = []
        self.region = region
        self._cluster = cluster
        self._never_used: Iterator[str] = map(str, islice(IPv4Network(subnet).hosts(), RESERVED_ADDRESSES, None))
        self._given_back: list[str] = []
        self._changed = asyncio.Event()
        self._answers: dict[str, Callable[[Mapping[str, str]], str]] = {
            "DescribeAvailabilityZones": self._zones,
            "DescribeNetworkInterfaces": self._interfaces_of,
            "AssignPrivateIpAddresses": self._assign,
            "UnassignPrivateIpAddresses": self._unassign,
            "CreateNetworkInterface": self._create_interface,
            "AttachNetworkInterface": self._attach,
        }

    def start(self, number: int, zone: str = "us-west-2a", **more: Any) -> dict[str, Any]:
        """A running instance of a number of its own; `more` are fields of the feed's records."""
        instance_id, interface_id = f"i-{number:017x}", f"eni-{number:017x}"
        address = self._addresses(1)[0]
        self.interfaces.setdefault(interface_id, set())
        self.attached[interface_id] = instance_id
        self.instances[instance_id] = {
            "instance_id": instance_id,
            "state": "running",
            "instance_type": "m5.large",
            "image_id": "ami-1",
            "private_ip": address,
            "private_dns_name": f"ip-{address.replace('.', '-')}.{self.region}.compute.internal",
            "vpc_id": "vpc-1",
            "subnet_id": "subnet-1",
            "availability_zone": zone,
            "network_interface_id": interface_id,
            "launch_time": 1.0,
            "tags": {},
            "user_data": "",
            "cluster": self._cluster,
            **more,
        }
        self._wake()
        return self.instances[instance_id]

    def stop(self, number: int) -> None:
        self.terminate(f"i-{number:017x}")

    def terminate(self, instance_id: str) -> None:
        # A new record: the feeds compare with what they were given before.
        self.instances[instance_id] = self.instances[instance_id] | {"state": "terminated"}
        self._wake()

    def exhaust(self) -> list[str]:
        """Take all free addresses out of the subnet, and return them."""
        taken = [*self._given_back, *self._never_used]
        self._given_back = []
        return taken

    def refill(self, addresses: list[str]) -> None:
        self._given_back += addresses

    def _wake(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    # -- Aws -----------------------------------------------------------------------------------------------------

    async def get(self, path: str, seconds: float = POLL_SECONDS) -> Any:
        self.calls.append(path)
        _, found, name = path.partition("/instance-types/")
        if found:
            return instance_type_facts(unquote(name))
        after = int(path.partition("after=")[2].partition("&")[0])
        if after == self.revision:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return {"revision": self.revision, "instances": list(self.instances.values())}

    async def ec2(self, action: str, parameters: Mapping[str, str]) -> ElementTree.Element:
        self.calls.append(action)
        return ElementTree.fromstring(self._answers[action](parameters))

    def _zones(self, _: Mapping[str, str]) -> str:
        zones = "".join(
            f"<item><zoneName>{self.region}{letter}</zoneName><zoneId>usw2-az{number}</zoneId></item>"
            for number, letter in enumerate("abcdef", 1)
        )
        return f"<r><availabilityZoneInfo>{zones}</availabilityZoneInfo></r>"

    def _interfaces_of(self, parameters: Mapping[str, str]) -> str:
        items = [
            self._interface(interface_id)
            for interface_id, instance_id in self.attached.items()
            if instance_id == parameters["Filter.1.Value.1"]
        ]
        return f"<r><networkInterfaceSet>{''.join(f'<item>{item}</item>' for item in items)}</networkInterfaceSet></r>"

    def _assign(self, parameters: Mapping[str, str]) -> str:
        count = int(parameters["SecondaryPrivateIpAddressCount"])
        taken = self._take(parameters["NetworkInterfaceId"], count)
        items = "".join(f"<item><privateIpAddress>{address}</privateIpAddress></item>" for address in taken)
        return f"<r><assignedPrivateIpAddressesSet>{items}</assignedPrivateIpAddressesSet></r>"

    def _unassign(self, parameters: Mapping[str, str]) -> str:
        for name, address in parameters.items():
            if name.startswith("PrivateIpAddress."):
                self.interfaces[parameters["NetworkInterfaceId"]].remove(address)
                self._given_back.append(address)
        return "<r><return>true</return></r>"

    def _create_interface(self, parameters: Mapping[str, str]) -> str:
        interface_id = f"eni-extra{len(self.interfaces)}"
        self._take(interface_id, int(parameters["SecondaryPrivateIpAddressCount"]))
        return f"<r><networkInterface>{self._interface(interface_id)}</networkInterface></r>"

    def _attach(self, parameters: Mapping[str, str]) -> str:
        self.attached[parameters["NetworkInterfaceId"]] = parameters["InstanceId"]
        return "<r/>"

    def _take(self, interface_id: str, count: int) -> list[str]:
        taken = self._addresses(count)
        self.interfaces.setdefault(interface_id, set()).update(taken)
        return taken

    def _addresses(self, count: int) -> list[str]:
        """All or none, as EC2 assigns."""
        taken, self._given_back = self._given_back[:count], self._given_back[count:]
        taken += islice(self._never_used, count - len(taken))
        if len(taken) < count:
            self._given_back = taken
            raise AwsError("InsufficientFreeAddressesInSubnet", "no free addresses in subnet subnet-1")
        return taken

    def _interface(self, interface_id: str) -> str:
        addresses = "".join(
            f"<item><privateIpAddress>{address}</privateIpAddress><primary>false</primary></item>"
            for address in sorted(self.interfaces[interface_id])
        )
        return (
            f"<networkInterfaceId>{interface_id}</networkInterfaceId>"
            f"<privateIpAddressesSet>{addresses}</privateIpAddressesSet>"
        )
