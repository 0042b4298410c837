"""What the EKS service asks of the machine it runs on: make a control plane, take it away.

The region's supervisor implements it with child processes; tests with a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ControlPlaneSpec:
    name: str
    arn: str
    version: str
    """Minor version, e.g. `1.36`."""
    region: str
    account_id: str
    vpc_id: str
    service_ipv4_cidr: str
    oidc_id: str
    """The 32 hexadecimal digits of `oidc.eks.REGION.amazonaws.com/id/...`: issuer of service-account tokens."""
    interface_addresses: tuple[str, ...] = ()
    """Of the cross-account interfaces in the cluster's subnets, sorted."""
    audit: bool = False
    """The log type `audit` is enabled."""


@dataclass(frozen=True, slots=True)
class ControlPlaneEndpoint:
    url: str
    certificate_authority: str
    """PEM, base64-encoded once more, as `certificateAuthority.data`."""


class ControlPlanes(Protocol):
    async def provision(self, spec: ControlPlaneSpec) -> ControlPlaneEndpoint:
        """Idempotent; returns when the API server's /readyz answers ok. Raises `ControlPlaneFailed`.

        A control plane that runs with another specification is started anew with this one.
        """
        ...

    def token_key(self, name: str) -> str:
        """PEM of the public key that verifies the cluster's service-account tokens; empty while there is none."""
        ...

    async def drain(self, name: str, nodegroup: str, node: str = "") -> None:
        """Evict the pods of a node group that is about to go, or of one of its nodes. Returns after a bounded time,
        whether it has or not."""
        ...

    async def deprovision(self, name: str) -> None:
        """Stop it and forget its data. Idempotent."""
        ...


class ControlPlaneFailed(Exception):
    """It did not become ready; the message says why and where its log is."""
