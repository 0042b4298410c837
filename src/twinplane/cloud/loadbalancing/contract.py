"""What a load balancer is, as plain values: between the reader of API state, the rule builder and the loop.

`from_moto` makes these records, `rules` turns them into Envoy resources, and neither knows the other. Classic load
balancers have no target groups in their API; the reader gives them one a listener, so everything after it is uniform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Kind = Literal["classic", "network", "application"]
TargetState = Literal["initial", "healthy", "unhealthy", "unused", "draining"]
SocketAddress = tuple[str, int]
Flow = tuple[str, str, str, int]
"""VPC id, private address of a load balancer, tcp or udp, port."""

DEFAULT_PRIORITY = 1 << 30
"""Of a listener's default rule: after all that can be numbered (1-50000)."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """`id` is an instance id or a VPC address."""

    id: str
    port: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    protocol: str = "TCP"
    """TCP, HTTP, HTTPS or TLS."""
    port: int | None = None
    """None means the port that the target receives traffic on."""
    path: str = "/"
    interval: float = 30.0
    timeout: float = 10.0
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: str = "200"
    """HTTP codes that count as healthy, as ELB writes them: `200`, `200,301`, `200-399`."""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class TargetGroup:
    arn: str
    name: str
    protocol: str
    """HTTP, HTTPS, TCP, TLS, UDP or TCP_UDP: how targets are spoken to."""
    port: int
    vpc_id: str
    target_type: str = "instance"
    targets: tuple[Target, ...] = ()
    health_check: HealthCheck = HealthCheck()
    attributes: Mapping[str, str] = field(default_factory=dict)
    """As in the ELBv2 API, e.g. `stickiness.enabled`."""
    protocol_version: str = ""
    """HTTP1, HTTP2 or GRPC; empty for what is not HTTP."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule: true when any of its values matches."""

    field: str
    """host-header, path-pattern, http-header, http-request-method, query-string or source-ip."""
    values: tuple[str, ...] = ()
    header: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    """Of query-string: (key, value); an empty key means any key."""


@dataclass(frozen=True, slots=True)
class Action:
    type: str
    """forward, redirect, fixed-response, or one that has no data path here (authenticate-*)."""
    target_groups: tuple[tuple[str, int], ...] = ()
    """(ARN, weight) of forward."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """RedirectConfig or FixedResponseConfig, with the API's names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold. A default rule has none and `DEFAULT_PRIORITY`."""

    priority: int
    conditions: tuple[Condition, ...]
    action: Action


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM."""

    chain: str
    private_key: str


@dataclass(frozen=True, slots=True)
class Listener:
    port: int
    protocol: str
    """HTTP, HTTPS, TCP, TLS (SSL of a classic one), UDP or TCP_UDP."""
    rules: tuple[Rule, ...]
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    arn: str
    """For a classic one, which has none in the API, the ARN that IAM policies use."""
    name: str
    kind: Kind
    dns_name: str
    scheme: str
    vpc_id: str
    availability_zones: tuple[str, ...]
    listeners: tuple[Listener, ...]
    idle_timeout: float = 60.0
    addresses: tuple[str, ...] = ()
    """Private ones of its network interfaces, in the order of their subnets."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of an account in a region at one moment."""

    load_balancers: tuple[LoadBalancer, ...] = ()
    target_groups: Mapping[str, TargetGroup] = field(default_factory=dict)
    """By ARN, those of classic load balancers included."""


class Reach(Protocol):
    def resolve(self, vpc_id: str, target: Target) -> list[SocketAddress]:
        """Where this host reaches a target; empty when nothing serves it now (stopped, unknown, still starting)."""
        ...


class Interfaces(Protocol):
    """The network interfaces of load balancers, in VPCs whose networks this host has."""

    def to_host(self, vpc_id: str, address: str) -> str | None:
        """Where the host binds to an address of a VPC; None in a VPC without real nodes."""
        ...

    def announce(self, addresses: Iterable[tuple[str, str]]) -> None:
        """(VPC id, address) of all that are bound to: the VPC reaches the host at them."""
        ...

    def hand_on(self, flows: Mapping[Flow, tuple[SocketAddress, ...]]) -> None:
        """Flows that begin in a VPC and need no proxy -> where on this host each goes to one of. Replaces what was."""
        ...
