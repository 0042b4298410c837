"""A ClusterConfig with eksctl's defaults filled in and its rules checked: what provisioning works from."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from twinplane.cli.eksctl.decoding import BadClusterConfig
from twinplane.cli.eksctl.identity_config import Identities, from_iam

DEFAULT_CIDR = "192.168.0.0/16"
DEFAULT_INSTANCE_TYPE = "m5.large"
DEFAULT_NODES = 2
DEFAULT_VOLUME_SIZE = 80
"""GiB, as eksctl's default for node groups."""
RUNTIME_LABEL = "twinplane.io/runtime"
RUNTIMES = ("simulated", "containerd")
"""Of a node group's nodes: simulated kubelets, or machines with real containers (needs Linux and root)."""
EFFECTS = {"NoSchedule": "NO_SCHEDULE", "NoExecute": "NO_EXECUTE", "PreferNoSchedule": "PREFER_NO_SCHEDULE"}
NAT_GATEWAYS = ("Single", "HighlyAvailable", "Disable")
AMI_TYPES = {
    "AmazonLinux2023": "AL2023_x86_64_STANDARD",
    "AmazonLinux2": "AL2_x86_64",
    "Bottlerocket": "BOTTLEROCKET_x86_64",
}


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str
    """As Kubernetes spells it; `EFFECTS` has EKS's spelling."""


@dataclass(frozen=True, slots=True)
class NodeGroup:
    name: str
    instance_types: tuple[str, ...]
    ami_type: str
    desired: int
    minimum: int
    maximum: int
    volume_size: int
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    tags: dict[str, str]
    zones: tuple[str, ...]
    subnets: tuple[str, ...]
    private_networking: bool
    spot: bool
    update: dict[str, int]
    role_arn: str = ""
    role_name: str = ""
    policies: tuple[str, ...] = ()

    @property
    def runtime(self) -> str:
        return self.labels.get(RUNTIME_LABEL, RUNTIMES[0])


@dataclass(frozen=True, slots=True)
class ExistingVpc:
    """A VPC that the file names; subnet ids by visibility."""

    id: str
    public: tuple[str, ...]
    private: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    name: str
    region: str
    version: str
    tags: dict[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    cidr: str = DEFAULT_CIDR
    nat: str = "Single"
    vpc: ExistingVpc | None = None
    service_cidr: str = ""
    public_access: bool = True
    private_access: bool = False
    public_access_cidrs: tuple[str, ...] = ()
    service_role_arn: str = ""
    with_oidc: bool = False
    identities: Identities = field(default_factory=Identities)
    authentication_mode: str = "API_AND_CONFIG_MAP"
    creator_is_admin: bool = True
    log_types: tuple[str, ...] = ()
    node_groups: tuple[NodeGroup, ...] = ()


def from_fields(fields: dict[str, Any], region: str, source: str) -> ClusterConfig:
    """Raises `BadClusterConfig` for what eksctl refuses."""
    problems = _problems(fields, region, source)
    groups = [_node_group(entry, source, problems) for entry in fields.get("managedNodeGroups") or []]
    names = [group.name for group in groups]
    twice = {name for name in names if names.count(name) > 1}
    problems += [f'{source}: managedNodeGroups: name "{name}" is used more than once' for name in sorted(twice)]
    iam = fields.get("iam") or {}
    identities = from_iam(iam, source, problems)
    if problems:
        raise BadClusterConfig(problems)
    metadata = fields["metadata"]
    vpc = fields.get("vpc") or {}
    network = fields.get("kubernetesNetworkConfig") or {}
    endpoints = vpc.get("clusterEndpoints") or {}
    access = fields.get("accessConfig") or {}
    return ClusterConfig(
        name=metadata["name"],
        region=region,
        version=metadata.get("version") or "",
        tags=metadata.get("tags") or {},
        zones=tuple(fields.get("availabilityZones") or ()),
        cidr=vpc.get("cidr") or DEFAULT_CIDR,
        nat=_nat_gateway(vpc),
        vpc=_existing_vpc(vpc),
        service_cidr=network.get("serviceIPv4CIDR") or "",
        public_access=endpoints.get("publicAccess") is not False,
        private_access=bool(endpoints.get("privateAccess")),
        public_access_cidrs=tuple(vpc.get("publicAccessCIDRs") or ()),
        service_role_arn=iam.get("serviceRoleARN") or "",
        with_oidc=bool(iam.get("withOIDC")),
        identities=identities,
        authentication_mode=access.get("authenticationMode") or "API_AND_CONFIG_MAP",
        creator_is_admin=access.get("bootstrapClusterCreatorAdminPermissions") is not False,
        log_types=_log_types(fields),
        node_groups=tuple(groups),
    )


def _problems(fields: dict[str, Any], region: str, source: str) -> list[str]:
    problems: list[str] = []
    metadata = fields.get("metadata") or {}
    if not metadata.get("name"):
        problems.append(f"{source}: metadata.name must be set")
    if metadata.get("region") and metadata["region"] != region:
        problems.append(f"{source}: metadata.region is {metadata['region']!r}, but this region is {region!r}")
    family = (fields.get("kubernetesNetworkConfig") or {}).get("ipFamily", "IPv4")
    if family != "IPv4":
        problems.append(f"{source}: kubernetesNetworkConfig.ipFamily {family!r} is not supported yet")
    vpc = fields.get("vpc") or {}
    if _nat_gateway(vpc) not in NAT_GATEWAYS:
        problems.append(f"{source}: vpc.nat.gateway must be one of {', '.join(NAT_GATEWAYS)}")
    _check_cidr(vpc.get("cidr"), source, problems)
    return problems


def _nat_gateway(vpc: dict[str, Any]) -> str:
    return (vpc.get("nat") or {}).get("gateway") or "Single"


def default_node_group(name: str, nodes: int, instance_type: str, runtime: str | None = None) -> NodeGroup:
    """What eksctl makes when it is given flags and no file."""
    problems: list[str] = []
    entry: dict[str, Any] = {"name": name, "instanceType": instance_type, "desiredCapacity": nodes}
    if runtime is not None:
        entry["labels"] = {RUNTIME_LABEL: runtime}
    return _node_group(entry, "command line", problems)


def _node_group(entry: dict[str, Any], source: str, problems: list[str]) -> NodeGroup:
    name = entry.get("name") or ""
    where = f"{source}: managedNodeGroups[{name or '?'}]"
    if not name:
        problems.append(f"{where}: name must be set")
    desired, minimum, maximum = _sizes(entry)
    if not minimum <= desired <= maximum:
        problems.append(f"{where}: minSize {minimum} <= desiredCapacity {desired} <= maxSize {maximum} does not hold")
    family = entry.get("amiFamily") or "AmazonLinux2023"
    if family not in AMI_TYPES:
        problems.append(f"{where}: amiFamily {family!r} is not one of {', '.join(AMI_TYPES)}")
    taints = [Taint(t.get("key") or "", t.get("value") or "", t.get("effect") or "") for t in entry.get("taints") or []]
    problems += [
        f"{where}: taint effect {t.effect!r} is not one of {', '.join(EFFECTS)}"
        for t in taints
        if t.effect not in EFFECTS
    ]
    if entry.get("instanceType") and entry.get("instanceTypes"):
        problems.append(f"{where}: only one of instanceType and instanceTypes may be set")
    labels = entry.get("labels") or {}
    if labels.get(RUNTIME_LABEL, RUNTIMES[0]) not in RUNTIMES:
        problems.append(f"{where}: label {RUNTIME_LABEL} {labels[RUNTIME_LABEL]!r} is not one of {', '.join(RUNTIMES)}")
    iam = entry.get("iam") or {}
    return NodeGroup(
        name=name,
        instance_types=tuple(entry.get("instanceTypes") or [entry.get("instanceType") or DEFAULT_INSTANCE_TYPE]),
        ami_type=AMI_TYPES.get(family, ""),
        desired=desired,
        minimum=minimum,
        maximum=maximum,
        volume_size=entry.get("volumeSize") or DEFAULT_VOLUME_SIZE,
        labels=labels,
        taints=tuple(taints),
        tags=entry.get("tags") or {},
        zones=tuple(entry.get("availabilityZones") or ()),
        subnets=tuple(entry.get("subnets") or ()),
        private_networking=bool(entry.get("privateNetworking")),
        spot=bool(entry.get("spot")),
        update=entry.get("updateConfig") or {},
        role_arn=iam.get("instanceRoleARN") or "",
        role_name=iam.get("instanceRoleName") or "",
        policies=tuple(iam.get("attachPolicyARNs") or ()),
    )


def _sizes(entry: dict[str, Any]) -> tuple[int, int, int]:
    """eksctl's rules: what is not given follows from what is, two nodes when nothing is."""
    desired, minimum, maximum = entry.get("desiredCapacity"), entry.get("minSize"), entry.get("maxSize")
    if desired is None:
        desired = (
            minimum if minimum is not None else min(DEFAULT_NODES, maximum if maximum is not None else DEFAULT_NODES)
        )
    if minimum is None:
        minimum = min(desired, maximum) if maximum is not None else desired
    if maximum is None:
        maximum = max(desired, minimum)
    return desired, minimum, maximum


def _existing_vpc(vpc: dict[str, Any]) -> ExistingVpc | None:
    subnets = vpc.get("subnets") or {}
    if not vpc.get("id") and not subnets:
        return None

    def ids(visibility: str) -> tuple[str, ...]:
        return tuple(entry["id"] for entry in (subnets.get(visibility) or {}).values() if entry and entry.get("id"))

    return ExistingVpc(vpc.get("id") or "", ids("public"), ids("private"))


def _log_types(fields: dict[str, Any]) -> tuple[str, ...]:
    enabled = tuple(((fields.get("cloudWatch") or {}).get("clusterLogging") or {}).get("enableTypes") or ())
    if "*" in enabled or "all" in enabled:
        return ("api", "audit", "authenticator", "controllerManager", "scheduler")
    return enabled


def _check_cidr(cidr: str | None, source: str, problems: list[str]) -> None:
    if cidr is None:
        return
    try:
        size = IPv4Network(cidr).prefixlen
    except ValueError as error:
        problems.append(f"{source}: vpc.cidr: {error}")
        return
    if not 16 <= size <= 24:
        problems.append(f"{source}: vpc.cidr: VPC CIDR prefix must be between /16 and /24")
