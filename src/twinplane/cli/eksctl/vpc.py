"""The network of a cluster as eksctl makes it: VPC, subnets, route tables, NAT, security groups."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from twinplane.cli.eksctl.account import Account, specification
from twinplane.cli.eksctl.config import ClusterConfig
from twinplane.cli.eksctl.network import SubnetPlan, plan_subnets

ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, slots=True)
class Subnet:
    id: str
    zone: str
    public: bool


@dataclass(frozen=True, slots=True)
class Network:
    vpc_id: str
    subnets: list[Subnet]
    security_groups: list[str] = field(default_factory=list)
    """Of the control plane's network interfaces."""

    def ids(self, *, public: bool, zones: tuple[str, ...] = ()) -> list[str]:
        return [s.id for s in self.subnets if s.public is public and (not zones or s.zone in zones)]


def choose_zones(account: Account, config: ClusterConfig) -> tuple[str, ...]:
    """The file's, else the first three of the region."""
    if config.zones:
        return config.zones
    zones = account.ec2.describe_availability_zones()["AvailabilityZones"]
    return tuple(sorted(zone["ZoneName"] for zone in zones if zone["State"] == "available")[:3])


class VpcBuilder:
    """Makes the resources of one cluster; each method is one kind of resource."""

    def __init__(self, account: Account, cluster: str) -> None:
        self._ec2 = account.ec2
        self._cluster = cluster

    def build(self, config: ClusterConfig, zones: tuple[str, ...]) -> Network:
        vpc_id = self._vpc(config.cidr)
        plans = plan_subnets(config.cidr, zones)
        # Subnets do not depend on one another; the endpoint answers them as fast as it can.
        with ThreadPoolExecutor(max_workers=4) as pool:
            gateway = pool.submit(self._internet_gateway, vpc_id)
            groups = pool.submit(self._security_groups, vpc_id)
            subnets = list(pool.map(lambda plan: self._subnet(vpc_id, plan), plans))
            gateway_id, security_groups = gateway.result(), groups.result()
        self._public_routes(vpc_id, gateway_id, [subnet for subnet in subnets if subnet.public])
        self._private_routes(vpc_id, subnets, config.nat)
        return Network(vpc_id, subnets, security_groups)

    def _tags(self, kind: str, logical_name: str, more: dict[str, str] | None = None) -> list[dict[str, Any]]:
        return specification(kind, self._cluster, logical_name, more)

    def _vpc(self, cidr: str) -> str:
        vpc_id: str = self._ec2.create_vpc(CidrBlock=cidr, TagSpecifications=self._tags("vpc", "VPC"))["Vpc"]["VpcId"]
        self._ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
        return vpc_id

    def _internet_gateway(self, vpc_id: str) -> str:
        tags = self._tags("internet-gateway", "InternetGateway")
        gateway_id: str = self._ec2.create_internet_gateway(TagSpecifications=tags)["InternetGateway"][
            "InternetGatewayId"
        ]
        self._ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
        return gateway_id

    def _subnet(self, vpc_id: str, plan: SubnetPlan) -> Subnet:
        name = f"Subnet{'Public' if plan.public else 'Private'}{_logical(plan.zone)}"
        role = "kubernetes.io/role/elb" if plan.public else "kubernetes.io/role/internal-elb"
        subnet_id = self._ec2.create_subnet(
            VpcId=vpc_id,
            CidrBlock=plan.cidr,
            AvailabilityZone=plan.zone,
            TagSpecifications=self._tags("subnet", name, {role: "1"}),
        )["Subnet"]["SubnetId"]
        if plan.public:
            self._ec2.modify_subnet_attribute(SubnetId=subnet_id, MapPublicIpOnLaunch={"Value": True})
        return Subnet(subnet_id, plan.zone, plan.public)

    def _route_table(self, vpc_id: str, name: str) -> str:
        tags = self._tags("route-table", name)
        table_id: str = self._ec2.create_route_table(VpcId=vpc_id, TagSpecifications=tags)["RouteTable"]["RouteTableId"]
        return table_id

    def _public_routes(self, vpc_id: str, gateway_id: str, subnets: list[Subnet]) -> None:
        table = self._route_table(vpc_id, "PublicRouteTable")
        self._ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway_id)
        for subnet in subnets:
            self._ec2.associate_route_table(RouteTableId=table, SubnetId=subnet.id)

    def _private_routes(self, vpc_id: str, subnets: list[Subnet], nat: str) -> None:
        """A table for each zone; all lead to one NAT gateway, to one each, or nowhere."""
        public = [subnet for subnet in subnets if subnet.public]
        gateways: dict[str, str] = {}
        if nat == "HighlyAvailable":
            gateways = {subnet.zone: self._nat_gateway(subnet, _logical(subnet.zone)) for subnet in public}
        elif nat == "Single":
            shared = self._nat_gateway(public[0], "")
            gateways = {subnet.zone: shared for subnet in public}
        for subnet in subnets:
            if subnet.public:
                continue
            table = self._route_table(vpc_id, f"PrivateRouteTable{_logical(subnet.zone)}")
            if subnet.zone in gateways:
                gateway = gateways[subnet.zone]
                self._ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NatGatewayId=gateway)
            self._ec2.associate_route_table(RouteTableId=table, SubnetId=subnet.id)

    def _nat_gateway(self, subnet: Subnet, suffix: str) -> str:
        tags = self._tags("elastic-ip", f"NATIP{suffix}")
        address = self._ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
        gateway_id: str = self._ec2.create_nat_gateway(
            SubnetId=subnet.id,
            AllocationId=address["AllocationId"],
            TagSpecifications=self._tags("natgateway", f"NATGateway{suffix}"),
        )["NatGateway"]["NatGatewayId"]
        return gateway_id

    def _security_groups(self, vpc_id: str) -> list[str]:
        """ControlPlaneSecurityGroup, and ClusterSharedNodeSecurityGroup whose members may talk to one another."""
        described = "Communication between the control plane and worker nodegroups"
        control = self._security_group(vpc_id, "ControlPlaneSecurityGroup", described)
        shared = self._security_group(
            vpc_id, "ClusterSharedNodeSecurityGroup", "Communication between all nodes in the cluster"
        )
        within = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": shared}]}]
        self._ec2.authorize_security_group_ingress(GroupId=shared, IpPermissions=within)
        return [control]

    def _security_group(self, vpc_id: str, name: str, description: str) -> str:
        group_id: str = self._ec2.create_security_group(
            VpcId=vpc_id,
            GroupName=f"eksctl-{self._cluster}-cluster-{name}",
            Description=description,
            TagSpecifications=self._tags("security-group", name),
        )["GroupId"]
        return group_id


def describe_existing(account: Account, config: ClusterConfig) -> Network:
    """The network that the file names instead of having one made."""
    assert config.vpc is not None
    wanted = dict.fromkeys(config.vpc.public, True) | dict.fromkeys(config.vpc.private, False)
    found = account.ec2.describe_subnets(SubnetIds=list(wanted))["Subnets"]
    subnets = [Subnet(s["SubnetId"], s["AvailabilityZone"], wanted[s["SubnetId"]]) for s in found]
    return Network(config.vpc.id or found[0]["VpcId"], subnets)


def _logical(zone: str) -> str:
    return zone.upper().replace("-", "")
