"""What ipamd asks of EC2: interfaces and their addresses, the limits of the instance type, the VPC's CIDRs.

One method a call, each answering with values of `pool`. Refusals come as `AwsError`, silence as `OSError`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from twinplane.dataplane.aws import Aws, AwsError
from twinplane.dataplane.network.cni.pool import Interface

log = logging.getLogger(__name__)

FULL = ("InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks")
DETACH_ATTEMPTS = 10
DETACH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Network:
    """Where the node's interfaces are."""

    vpc_cidrs: tuple[str, ...]
    subnet_cidr: str


class Interfaces:
    def __init__(self, aws: Aws, instance_id: str, vpc_id: str, subnet_id: str) -> None:
        self._aws = aws
        self._instance_id = instance_id
        self._vpc_id = vpc_id
        self._subnet_id = subnet_id
        self._groups: tuple[str, ...] = ()

    async def limits(self, instance_type: str) -> tuple[int, int]:
        """(interfaces, IPv4 addresses an interface)."""
        answer = await self._aws.ec2("DescribeInstanceTypes", {"InstanceType.1": instance_type})
        info = answer.find("instanceTypeSet/item/networkInfo")
        if info is None:
            raise AwsError("InvalidInstanceType", f"nothing is known of {instance_type}")
        return (
            int(info.findtext("maximumNetworkInterfaces") or 0),
            int(info.findtext("ipv4AddressesPerInterface") or 0),
        )

    async def network(self) -> Network:
        vpcs = await self._aws.ec2("DescribeVpcs", {"VpcId.1": self._vpc_id})
        found = [item.findtext("cidrBlock") or "" for item in vpcs.findall("vpcSet/item/cidrBlockAssociationSet/item")]
        first = vpcs.findtext("vpcSet/item/cidrBlock") or ""
        subnets = await self._aws.ec2("DescribeSubnets", {"SubnetId.1": self._subnet_id})
        subnet = subnets.findtext("subnetSet/item/cidrBlock") or ""
        return Network(tuple(dict.fromkeys(cidr for cidr in (first, *found) if cidr)), subnet)

    async def attached(self, now: float) -> list[Interface]:
        answer = await self._aws.ec2(
            "DescribeNetworkInterfaces",
            {"Filter.1.Name": "attachment.instance-id", "Filter.1.Value.1": self._instance_id},
        )
        items = answer.findall("networkInterfaceSet/item")
        for item in items:
            if item.findtext("attachment/deviceIndex") == "0":
                self._groups = tuple(group.findtext("groupId") or "" for group in item.findall("groupSet/item"))
        return [_interface(item, now) for item in items]

    async def assign(self, interface: Interface, count: int) -> set[str]:
        answer = await self._aws.ec2(
            "AssignPrivateIpAddresses",
            {"NetworkInterfaceId": interface.id, "SecondaryPrivateIpAddressCount": str(count)},
        )
        found = {item.text or "" for item in answer.iter("privateIpAddress")}
        return found - interface.addresses.keys() - {interface.primary, ""}

    async def unassign(self, interface: str, addresses: tuple[str, ...]) -> None:
        named = {f"PrivateIpAddress.{place}": address for place, address in enumerate(addresses, 1)}
        await self._aws.ec2("UnassignPrivateIpAddresses", {"NetworkInterfaceId": interface, **named})

    async def attach(self, device: int, count: int, now: float) -> Interface:
        """A new interface with `count` secondary addresses. Nothing is left behind when attaching fails."""
        groups = {f"SecurityGroupId.{place}": group for place, group in enumerate(self._groups, 1)}
        answer = await self._aws.ec2(
            "CreateNetworkInterface",
            {
                "SubnetId": self._subnet_id,
                "SecondaryPrivateIpAddressCount": str(count),
                "Description": f"aws-K8S-{self._instance_id}",
                "TagSpecification.1.ResourceType": "network-interface",
                "TagSpecification.1.Tag.1.Key": "node.k8s.amazonaws.com/instance_id",
                "TagSpecification.1.Tag.1.Value": self._instance_id,
                **groups,
            },
        )
        item = answer.find("networkInterface")
        if item is None:
            raise AwsError("InternalError", "CreateNetworkInterface answered without an interface")
        made = _interface(item, now)
        made.device = device
        try:
            answer = await self._aws.ec2(
                "AttachNetworkInterface",
                {"NetworkInterfaceId": made.id, "InstanceId": self._instance_id, "DeviceIndex": str(device)},
            )
        except AwsError:
            await self._delete(made.id)
            raise
        made.attachment = answer.findtext("attachmentId") or ""
        await self._deleted_with_instance(made)
        return made

    async def _deleted_with_instance(self, interface: Interface) -> None:
        try:
            await self._aws.ec2(
                "ModifyNetworkInterfaceAttribute",
                {
                    "NetworkInterfaceId": interface.id,
                    "Attachment.AttachmentId": interface.attachment,
                    "Attachment.DeleteOnTermination": "true",
                },
            )
        except AwsError as error:
            log.warning("delete on termination of %s: %s", interface.id, error)

    async def detach(self, interface: Interface) -> None:
        await self._aws.ec2("DetachNetworkInterface", {"AttachmentId": interface.attachment, "Force": "true"})
        await self._delete(interface.id)

    async def _delete(self, interface: str) -> None:
        """Detaching takes a moment: until then the interface is in use."""
        for attempt in range(1, DETACH_ATTEMPTS + 1):
            try:
                await self._aws.ec2("DeleteNetworkInterface", {"NetworkInterfaceId": interface})
                return
            except AwsError as error:
                if error.code == "InvalidNetworkInterfaceID.NotFound":
                    return
                if (error.code != "InvalidParameterValue" and "in use" not in str(error)) or attempt == DETACH_ATTEMPTS:
                    raise
            await asyncio.sleep(DETACH_SECONDS)


def _interface(item: Element, now: float) -> Interface:
    primary = item.findtext("privateIpAddress") or ""
    addresses: dict[str, None] = {}
    for entry in item.findall("privateIpAddressesSet/item"):
        value = entry.findtext("privateIpAddress") or ""
        if entry.findtext("primary") == "true":
            primary = value
        else:
            addresses[value] = None
    addresses.pop(primary, None)
    return Interface(
        item.findtext("networkInterfaceId") or "",
        int(item.findtext("attachment/deviceIndex") or 0),
        item.findtext("macAddress") or "",
        primary,
        item.findtext("attachment/attachmentId") or "",
        now,
        dict(addresses),
    )
