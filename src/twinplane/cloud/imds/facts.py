"""What EC2 and IAM know of an instance, read through their own APIs: the material of its metadata.

Blocking calls with the region's own clients, so they run in a thread; `server` keeps the result until EC2 changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from twinplane.cloud.contract import AwsClients


@dataclass(frozen=True, slots=True)
class Interface:
    mac: str
    device_number: int
    interface_id: str
    owner_id: str
    addresses: tuple[str, ...]
    """The primary one first."""
    public_addresses: tuple[str, ...]
    private_dns_name: str
    subnet_id: str
    subnet_cidr: str
    vpc_id: str
    vpc_cidrs: tuple[str, ...]
    security_groups: tuple[tuple[str, str], ...]
    """(id, name)"""


@dataclass(frozen=True, slots=True)
class Facts:
    instance_id: str
    account_id: str
    region: str
    image_id: str
    instance_type: str
    architecture: str
    launch_time: str
    availability_zone: str
    availability_zone_id: str
    private_dns_name: str
    public_dns_name: str
    interfaces: tuple[Interface, ...]
    user_data: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    profile_arn: str = ""
    profile_id: str = ""
    role: str = ""
    """Name of the role in the instance profile; empty without one."""
    tags: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    tokens_required: bool = True
    hop_limit: int = 1
    tags_enabled: bool = False


def read(clients: AwsClients, region: str, account_id: str, instance_id: str, user_data: str) -> Facts | None:
    """None for an instance that is gone."""
    ec2 = clients.client("ec2")
    try:
        reservation = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]
    except (ClientError, IndexError):
        return None
    found = reservation["Instances"][0]
    zone = found["Placement"]["AvailabilityZone"]
    options = found.get("MetadataOptions", {})
    profile = found.get("IamInstanceProfile", {})
    return Facts(
        instance_id=instance_id,
        account_id=account_id,
        region=region,
        image_id=found["ImageId"],
        instance_type=found["InstanceType"],
        architecture=found.get("Architecture", "x86_64"),
        launch_time=found["LaunchTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        availability_zone=zone,
        availability_zone_id=_zone_id(ec2, zone),
        private_dns_name=found.get("PrivateDnsName", ""),
        public_dns_name=found.get("PublicDnsName", ""),
        interfaces=tuple(_interfaces(ec2, found)),
        user_data=user_data,
        reservation_id=reservation["ReservationId"],
        launch_index=found.get("AmiLaunchIndex", 0),
        profile_arn=profile.get("Arn", ""),
        profile_id=profile.get("Id", ""),
        role=_role(clients, profile.get("Arn", "")),
        tags={tag["Key"]: tag["Value"] for tag in found.get("Tags", [])},
        enabled=options.get("HttpEndpoint", "enabled") == "enabled",
        tokens_required=options.get("HttpTokens", "optional") == "required",
        hop_limit=int(options.get("HttpPutResponseHopLimit", 1)),
        tags_enabled=options.get("InstanceMetadataTags", "disabled") == "enabled",
    )


def _interfaces(ec2: Any, instance: dict[str, Any]) -> list[Interface]:
    found = instance.get("NetworkInterfaces", [])
    if not found:
        return []
    subnets = {
        each["SubnetId"]: each["CidrBlock"]
        for each in ec2.describe_subnets(SubnetIds=sorted({each["SubnetId"] for each in found}))["Subnets"]
    }
    vpc = ec2.describe_vpcs(VpcIds=[instance["VpcId"]])["Vpcs"][0]
    cidrs = tuple(each["CidrBlock"] for each in vpc.get("CidrBlockAssociationSet", [])) or (vpc["CidrBlock"],)
    return [_interface(each, subnets[each["SubnetId"]], cidrs) for each in found]


def _interface(found: dict[str, Any], subnet_cidr: str, vpc_cidrs: tuple[str, ...]) -> Interface:
    records = sorted(found["PrivateIpAddresses"], key=lambda record: not record.get("Primary"))
    return Interface(
        mac=found["MacAddress"],
        device_number=int(found["Attachment"]["DeviceIndex"]),
        interface_id=found["NetworkInterfaceId"],
        owner_id=found.get("OwnerId", ""),
        addresses=tuple(record["PrivateIpAddress"] for record in records),
        public_addresses=tuple(
            record["Association"]["PublicIp"] for record in records if record.get("Association", {}).get("PublicIp")
        ),
        private_dns_name=found.get("PrivateDnsName", ""),
        subnet_id=found["SubnetId"],
        subnet_cidr=subnet_cidr,
        vpc_id=found["VpcId"],
        vpc_cidrs=vpc_cidrs,
        security_groups=tuple((group["GroupId"], group["GroupName"]) for group in found.get("Groups", [])),
    )


def _zone_id(ec2: Any, zone: str) -> str:
    zones = ec2.describe_availability_zones(ZoneNames=[zone])["AvailabilityZones"]
    return str(zones[0]["ZoneId"]) if zones else ""


def _role(clients: AwsClients, profile_arn: str) -> str:
    if not profile_arn:
        return ""
    try:
        profile = clients.client("iam").get_instance_profile(InstanceProfileName=profile_arn.rsplit("/", 1)[-1])
    except ClientError:
        return ""
    roles = profile["InstanceProfile"]["Roles"]
    return str(roles[0]["RoleName"]) if roles else ""
