"""The kinds of load balancer that a Service may have: each makes its own true, or takes it away.

The controller asks every kind at each reconcile, with settings for the one that is wanted and None for the others; so
a changed annotation needs no memory of what was there before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twinplane.controlplane.cloudcontroller.aws import Aws, Step
from twinplane.controlplane.cloudcontroller.elbv2.model import resource_name
from twinplane.controlplane.cloudcontroller.elbv2.observed import observe as observe_stack
from twinplane.controlplane.cloudcontroller.elbv2.plan import plan as plan_stack
from twinplane.controlplane.cloudcontroller.network import (
    ANYWHERE,
    NLB_RULE,
    ClusterNetwork,
    GroupModel,
    Permission,
    admit_to_nodes,
    delete_group,
    ensure_group,
    open_nodes,
    subnet_cidrs,
    subnets,
)
from twinplane.controlplane.cloudcontroller.service import classic
from twinplane.controlplane.cloudcontroller.service.network import Surroundings, owner_tags, stack
from twinplane.controlplane.cloudcontroller.service.settings import Kind, Settings
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

MEMBERSHIP = frozenset(
    {
        "register_instances_with_load_balancer",
        "deregister_instances_from_load_balancer",
        "register_targets",
        "deregister_targets",
    }
)


class Result(NamedTuple):
    hostname: str
    """Empty when there is no load balancer."""
    operations: tuple[str, ...]
    """AWS operations that it took."""

    @property
    def only_membership(self) -> bool:
        return MEMBERSHIP.issuperset(self.operations)


@dataclass(frozen=True)
class Members:
    """What a load balancer of a Service may send to."""

    instances: frozenset[str]
    slices: tuple[Object, ...] = ()


class Backend(Protocol):
    kind: Kind

    async def ensure(self, service: Object, settings: Settings, members: Members) -> Result: ...

    async def remove(self, service: Object) -> Result: ...


def cloud_provider_name(service: Object) -> str:
    """`a` and the UID without dashes, 32 characters: `cloudprovider.DefaultLoadBalancerName`."""
    return ("a" + uid_of(service).replace("-", ""))[:32]


def operations(steps: Iterable[Step]) -> tuple[str, ...]:
    return tuple(step.operation for step in steps)


class ClassicBackend:
    kind: Kind = "classic"

    def __init__(self, aws: Aws, network: ClusterNetwork) -> None:
        self._aws = aws
        self._network = network

    async def ensure(self, service: Object, settings: Settings, members: Members) -> Result:
        name = cloud_provider_name(service)
        wanted = classic.ClassicModel(
            name=name,
            scheme=settings.scheme,
            listeners=classic.listeners(service, settings),
            health_check=classic.health_check(service, settings),
            subnets=await subnets(self._aws, self._network, settings.scheme, settings.subnets),
            security_groups=await self._groups(service, settings),
            instances=members.instances,
            tags=settings.tags | owner_tags(service, "classic", self._network.cluster),
            attributes=classic.attributes(settings),
            proxy_protocol=settings.proxy_protocol,
        )
        observed = await classic.observe(self._aws, name)
        steps = classic.plan(wanted, name, observed)
        await self._aws.apply(steps)
        if observed is None:
            observed = await classic.observe(self._aws, name)
        return Result(observed.dns_name if observed else "", operations(steps))

    async def remove(self, service: Object) -> Result:
        name = cloud_provider_name(service)
        observed = await classic.observe(self._aws, name)
        if observed is None:
            return Result("", ())
        steps = classic.plan(None, name, observed)
        await self._aws.apply(steps)
        await delete_group(self._aws, self._network, f"k8s-elb-{name}")
        return Result("", operations(steps))

    async def _groups(self, service: Object, settings: Settings) -> tuple[str, ...]:
        """The annotation's groups, or one of our own that nodes admit."""
        if settings.security_groups:
            return settings.security_groups + settings.extra_security_groups
        name = f"k8s-elb-{cloud_provider_name(service)}"
        full_name = f"{namespace_of(service)}/{name_of(service)}"
        model = GroupModel(
            name,
            f"Security group for Kubernetes ELB {cloud_provider_name(service)} ({full_name})",
            {self._network.cluster_tag: "owned"},
            client_permissions(service),
        )
        group = await ensure_group(self._aws, self._network, model)
        await admit_to_nodes(self._aws, self._network, group)
        return (group, *settings.extra_security_groups)


def client_permissions(service: Object) -> frozenset[Permission]:
    """The Service's ports, open to `loadBalancerSourceRanges`; and ICMP that path MTU discovery needs."""
    spec = service["spec"]
    ranges = spec.get("loadBalancerSourceRanges") or [ANYWHERE]
    ports = {
        Permission(str(port.get("protocol", "TCP")).lower(), int(port["port"]), int(port["port"]), source.strip())
        for port in spec.get("ports", [])
        for source in ranges
    }
    return frozenset(ports | {Permission("icmp", 3, 4, source.strip()) for source in ranges})


def node_permissions(service: Object, balancer: str, subnet_cidrs: Iterable[str]) -> frozenset[Permission]:
    """What the nodes' group lets in for an NLB of the cloud provider, which has no security group.

    Its clients at the node ports, its health checks from the subnets (cloud-provider-aws,
    `updateInstanceSecurityGroupsForNLB`).
    """
    spec = service["spec"]
    exposed = [port for port in spec.get("ports", []) if port.get("nodePort")]
    ports = [(str(port.get("protocol", "TCP")).lower(), int(port["nodePort"])) for port in exposed]
    ranges = [source.strip() for source in spec.get("loadBalancerSourceRanges") or [ANYWHERE]]
    checked = [("tcp", int(spec["healthCheckNodePort"]))] if spec.get("healthCheckNodePort") else ports
    client, health, mtu = (f"{NLB_RULE}{purpose}={balancer}" for purpose in ("client", "health", "mtu"))
    rules = {Permission(kind, port, port, source, client) for kind, port in ports for source in ranges}
    rules |= {Permission("tcp", port, port, cidr, health) for _, port in checked for cidr in subnet_cidrs}
    return frozenset(rules | {Permission("icmp", 3, 4, source, mtu) for source in ranges})


class NetworkBackend:
    """NLBs, of the cloud provider (`nlb`) and of the AWS Load Balancer Controller (`external`)."""

    def __init__(self, aws: Aws, network: ClusterNetwork, kind: Kind) -> None:
        self.kind = kind
        self._aws = aws
        self._network = network

    def _name(self, service: Object, settings: Settings | None = None) -> str:
        if self.kind == "nlb":
            return cloud_provider_name(service)
        if settings is not None and settings.name:
            return settings.name
        return resource_name(namespace_of(service), name_of(service), self._network.cluster, uid_of(service))

    async def ensure(self, service: Object, settings: Settings, members: Members) -> Result:
        name = self._name(service, settings)
        around = Surroundings(
            self._network,
            await subnets(self._aws, self._network, settings.scheme, settings.subnets),
            await self._groups(service, settings),
            members.instances,
            members.slices,
        )
        wanted = stack(service, settings, name, around)
        owner = owner_tags(service, self.kind, self._network.cluster)
        observed = await observe_stack(self._aws, name, owner)
        steps, known = plan_stack(wanted, observed)
        if self.kind == "nlb":
            cidrs = await subnet_cidrs(self._aws, around.subnets)
            await open_nodes(self._aws, self._network, name, node_permissions(service, name, cidrs))
        await self._aws.apply(steps, known)
        if observed.load_balancer is None or "create_load_balancer" in operations(steps):
            observed = await observe_stack(self._aws, name, owner)
        balancer = observed.load_balancer
        return Result(balancer.dns_name if balancer else "", operations(steps))

    async def remove(self, service: Object) -> Result:
        owner = owner_tags(service, self.kind, self._network.cluster)
        observed = await observe_stack(self._aws, self._name(service), owner)
        steps, known = plan_stack(None, observed)
        await self._aws.apply(steps, known)
        if self.kind == "nlb":
            await open_nodes(self._aws, self._network, self._name(service), ())
        elif steps:
            await delete_group(self._aws, self._network, self._group_name(service))
        return Result("", operations(steps))

    def _group_name(self, service: Object) -> str:
        return resource_name(namespace_of(service), name_of(service), self._network.cluster, uid_of(service), "managed")

    async def _groups(self, service: Object, settings: Settings) -> tuple[str, ...]:
        """The cloud provider's NLBs have none; the controller's have what the annotation says, or one it manages."""
        if self.kind == "nlb":
            return ()
        if settings.security_groups:
            return settings.security_groups
        tags = owner_tags(service, self.kind, self._network.cluster)
        model = GroupModel(
            self._group_name(service),
            "[k8s] Managed SecurityGroup for LoadBalancer",
            tags | {"service.k8s.aws/resource": "ManagedLBSecurityGroup"},
            client_permissions(service),
        )
        group = await ensure_group(self._aws, self._network, model)
        await admit_to_nodes(self._aws, self._network, group)
        return (group,)


def backends(aws: Aws, network: ClusterNetwork) -> list[Backend]:
    return [ClassicBackend(aws, network), NetworkBackend(aws, network, "nlb"), NetworkBackend(aws, network, "external")]
