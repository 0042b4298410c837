"""EC2 as ipamd sees it, in memory: one instance in one subnet, with limits enforced as EC2 enforces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any
from xml.etree import ElementTree

from twinplane.dataplane.aws import AwsError

INSTANCE = "i-1"
Attached = Callable[["Eni"], None]


@dataclass
class Eni:
    id: str
    mac: str
    primary: str
    device: int | None = None
    addresses: list[str] = field(default_factory=list)


class Ec2:
    """`appeared` and `vanished` are told of attached and detached interfaces, as the fabric would be."""

    def __init__(self, subnet: str = "10.0.12.0/24", vpc: str = "10.0.0.0/16", *, interfaces: int = 3, per: int = 10):
        self.subnet, self.vpc = subnet, vpc
        self.interfaces, self.per = interfaces, per
        self.free = [str(address) for address in list(IPv4Network(subnet).hosts())[3:]]
        self.enis: dict[str, Eni] = {}
        self.calls: list[str] = []
        self.away = False
        self.appeared: Attached = lambda eni: None
        self.vanished: Attached = lambda eni: None
        self._number = 0
        self.eni(0)

    def eni(self, device: int | None = None) -> Eni:
        self._number += 1
        made = Eni(f"eni-{self._number}", f"02:00:00:00:00:{self._number:02x}", self._take(1)[0], device)
        self.enis[made.id] = made
        return made

    def _take(self, count: int) -> list[str]:
        if count > len(self.free):
            raise AwsError(
                "InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses"
            )
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    async def get(self, path: str, seconds: float = 30.0) -> Any:
        raise AwsError("404", path)

    async def ec2(self, action: str, parameters: Mapping[str, str]) -> ElementTree.Element:
        self.calls.append(action)
        if self.away:
            raise ConnectionError("no answer")
        answers: dict[str, Callable[[Mapping[str, str]], str]] = {
            "DescribeInstanceTypes": self._types,
            "DescribeVpcs": self._vpcs,
            "DescribeSubnets": self._subnets,
            "DescribeNetworkInterfaces": self._describe,
            "AssignPrivateIpAddresses": self._assign,
            "UnassignPrivateIpAddresses": self._unassign,
            "CreateNetworkInterface": self._create,
            "AttachNetworkInterface": self._attach,
            "ModifyNetworkInterfaceAttribute": lambda _: "",
            "DetachNetworkInterface": self._detach,
            "DeleteNetworkInterface": self._delete,
        }
        return ElementTree.fromstring(f"<r>{answers[action](parameters)}</r>")

    def _types(self, _: Mapping[str, str]) -> str:
        info = (
            f"<maximumNetworkInterfaces>{self.interfaces}</maximumNetworkInterfaces>"
            f"<ipv4AddressesPerInterface>{self.per}</ipv4AddressesPerInterface>"
        )
        return f"<instanceTypeSet><item><networkInfo>{info}</networkInfo></item></instanceTypeSet>"

    def _vpcs(self, _: Mapping[str, str]) -> str:
        return f"<vpcSet><item><cidrBlock>{self.vpc}</cidrBlock></item></vpcSet>"

    def _subnets(self, _: Mapping[str, str]) -> str:
        return f"<subnetSet><item><cidrBlock>{self.subnet}</cidrBlock></item></subnetSet>"

    def _describe(self, _: Mapping[str, str]) -> str:
        items = "".join(f"<item>{_xml(eni)}</item>" for eni in self.enis.values() if eni.device is not None)
        return f"<networkInterfaceSet>{items}</networkInterfaceSet>"

    def _assign(self, parameters: Mapping[str, str]) -> str:
        eni, count = self.enis[parameters["NetworkInterfaceId"]], int(parameters["SecondaryPrivateIpAddressCount"])
        if len(eni.addresses) + 1 + count > self.per:
            raise AwsError(
                "PrivateIpAddressLimitExceeded", f"Number of private addresses will exceed limit of {eni.id}"
            )
        eni.addresses += self._take(count)
        items = "".join(f"<item><privateIpAddress>{address}</privateIpAddress></item>" for address in eni.addresses)
        return f"<assignedPrivateIpAddressesSet>{items}</assignedPrivateIpAddressesSet>"

    def _unassign(self, parameters: Mapping[str, str]) -> str:
        for name, address in parameters.items():
            if name.startswith("PrivateIpAddress."):
                self.enis[parameters["NetworkInterfaceId"]].addresses.remove(address)
                self.free.append(address)
        return ""

    def _create(self, parameters: Mapping[str, str]) -> str:
        count = int(parameters["SecondaryPrivateIpAddressCount"])
        if count + 1 > len(self.free):
            raise AwsError(
                "InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses"
            )
        eni = self.eni()
        eni.addresses = self._take(count)
        return f"<networkInterface>{_xml(eni)}</networkInterface>"

    def _attach(self, parameters: Mapping[str, str]) -> str:
        if sum(eni.device is not None for eni in self.enis.values()) >= self.interfaces:
            raise AwsError("AttachmentLimitExceeded", "Interface count exceeds the limit")
        eni = self.enis[parameters["NetworkInterfaceId"]]
        eni.device = int(parameters["DeviceIndex"])
        self.appeared(eni)
        return f"<attachmentId>attach-{eni.id}</attachmentId>"

    def _detach(self, parameters: Mapping[str, str]) -> str:
        eni = self.enis[parameters["AttachmentId"].removeprefix("attach-")]
        self.vanished(eni)
        eni.device = None
        return ""

    def _delete(self, parameters: Mapping[str, str]) -> str:
        eni = self.enis[parameters["NetworkInterfaceId"]]
        if eni.device is not None:
            raise AwsError("InvalidParameterValue", f"Network interface '{eni.id}' is currently in use.")
        del self.enis[eni.id]
        self.free += [eni.primary, *eni.addresses]
        return ""


def _xml(eni: Eni) -> str:
    listed = [(eni.primary, "true"), *((address, "false") for address in eni.addresses)]
    addresses = "".join(
        f"<item><privateIpAddress>{address}</privateIpAddress><primary>{primary}</primary></item>"
        for address, primary in listed
    )
    attachment = (
        f"<attachment><deviceIndex>{eni.device}</deviceIndex><attachmentId>attach-{eni.id}</attachmentId></attachment>"
        if eni.device is not None
        else ""
    )
    return (
        f"<networkInterfaceId>{eni.id}</networkInterfaceId><macAddress>{eni.mac}</macAddress>{attachment}"
        f"<privateIpAddress>{eni.primary}</privateIpAddress>"
        f"<groupSet><item><groupId>sg-1</groupId></item></groupSet>"
        f"<privateIpAddressesSet>{addresses}</privateIpAddressesSet>"
    )
