"""An AWS account in memory, as far as simulated nodes look: instances, interfaces, addresses of one subnet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any
from xml.etree import ElementTree

from twinplane.dataplane.simulation.aws import AwsError

NODE_CONFIG = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: demo
  kubelet:
    config:
      maxPods: 29
    flags:
    - "--node-labels=eks.amazonaws.com/nodegroup=main,eks.amazonaws.com/capacityType=ON_DEMAND"
    - "--register-with-taints=dedicated=x:NoSchedule"

--//--
"""


class MemoryAccount:
    """Implements `Aws`. `instances` is changed through `start` and `stop`, which wake the feed."""

    def __init__(self, subnet: str = "10.0.12.0/24") -> None:
        self.revision = 0
        self.instances: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, set[str]] = {}
        self.attached: dict[str, str] = {}
        self.calls: list[str] = []
        self._free = [str(address) for address in list(IPv4Network(subnet).hosts())[3:]]
        self._changed = asyncio.Event()

    def start(self, number: int, zone: str = "us-west-2a", **more: Any) -> dict[str, Any]:
        instance_id, interface_id = f"i-{number:017x}", f"eni-{number:017x}"
        address = self._free.pop(0)
        self.interfaces.setdefault(interface_id, set())
        self.attached[interface_id] = instance_id
        self.instances[instance_id] = {
            "instance_id": instance_id,
            "state": "running",
            "instance_type": "m5.large",
            "image_id": "ami-1",
            "private_ip": address,
            "private_dns_name": f"ip-{address.replace('.', '-')}.us-west-2.compute.internal",
            "vpc_id": "vpc-1",
            "subnet_id": "subnet-1",
            "availability_zone": zone,
            "network_interface_id": interface_id,
            "launch_time": 1.0,
            "tags": {},
            "user_data": NODE_CONFIG,
            "cluster": "demo",
            **more,
        }
        self._wake()
        return self.instances[instance_id]

    def stop(self, number: int) -> None:
        self.instances[f"i-{number:017x}"]["state"] = "terminated"
        self._wake()

    def exhaust(self) -> list[str]:
        """Take all free addresses out of the subnet, and return them."""
        taken, self._free = self._free, []
        return taken

    def refill(self, addresses: list[str]) -> None:
        self._free += addresses

    def _wake(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    # -- Aws -----------------------------------------------------------------------------------------------------

    async def get(self, path: str, seconds: float = 30) -> Any:
        self.calls.append(path)
        if "/instance-types/" in path:
            return {"vcpus": 2, "memoryMiB": 8192, "enis": 3, "ipv4PerEni": 10, "architecture": "x86_64"}
        after = int(path.partition("after=")[2].partition("&")[0])
        if after == self.revision:
            try:
                async with asyncio.timeout(30):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return {"revision": self.revision, "instances": list(self.instances.values())}

    async def ec2(self, action: str, parameters: Mapping[str, str]) -> ElementTree.Element:
        self.calls.append(action)
        return ElementTree.fromstring(str(getattr(self, f"_{action}")(parameters)))

    def _DescribeAvailabilityZones(self, _: Mapping[str, str]) -> str:
        zones = "".join(
            f"<item><zoneName>us-west-2{letter}</zoneName><zoneId>usw2-az{number}</zoneId></item>"
            for number, letter in enumerate("abc", 1)
        )
        return f"<r><availabilityZoneInfo>{zones}</availabilityZoneInfo></r>"

    def _DescribeNetworkInterfaces(self, parameters: Mapping[str, str]) -> str:
        items = [
            self._interface(interface_id)
            for interface_id, instance_id in self.attached.items()
            if instance_id == parameters["Filter.1.Value.1"]
        ]
        return f"<r><networkInterfaceSet>{''.join(f'<item>{item}</item>' for item in items)}</networkInterfaceSet></r>"

    def _AssignPrivateIpAddresses(self, parameters: Mapping[str, str]) -> str:
        count = int(parameters["SecondaryPrivateIpAddressCount"])
        taken = self._take(parameters["NetworkInterfaceId"], count)
        items = "".join(f"<item><privateIpAddress>{address}</privateIpAddress></item>" for address in taken)
        return f"<r><assignedPrivateIpAddressesSet>{items}</assignedPrivateIpAddressesSet></r>"

    def _UnassignPrivateIpAddresses(self, parameters: Mapping[str, str]) -> str:
        for name, address in parameters.items():
            if name.startswith("PrivateIpAddress."):
                self.interfaces[parameters["NetworkInterfaceId"]].remove(address)
                self._free.append(address)
        return "<r><return>true</return></r>"

    def _CreateNetworkInterface(self, parameters: Mapping[str, str]) -> str:
        interface_id = f"eni-extra{len(self.interfaces)}"
        self._take(interface_id, int(parameters["SecondaryPrivateIpAddressCount"]))
        return f"<r><networkInterface>{self._interface(interface_id)}</networkInterface></r>"

    def _AttachNetworkInterface(self, parameters: Mapping[str, str]) -> str:
        self.attached[parameters["NetworkInterfaceId"]] = parameters["InstanceId"]
        return "<r/>"

    def _take(self, interface_id: str, count: int) -> list[str]:
        if len(self._free) < count:
            raise AwsError("InsufficientFreeAddressesInSubnet", "no free addresses in subnet subnet-1")
        taken, self._free = self._free[:count], self._free[count:]
        self.interfaces.setdefault(interface_id, set()).update(taken)
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
