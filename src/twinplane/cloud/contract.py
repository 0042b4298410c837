"""Between the AWS endpoint (state of your account) and the parts that give that state effect.

Inside the daemon: `cloud.aws` (the only importer of moto) publishes; the EKS service, the load-balancer data path and
the instance feed read. Across processes the same facts travel over HTTP on the AWS port under `/_twinplane/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

REAL = "containerd"
"""`Instance.runtime` of a real node."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance as whoever boots it needs to know it."""

    instance_id: str
    state: str
    """pending, running, shutting-down, terminated, stopping, stopped."""
    instance_type: str
    image_id: str
    private_ip: str
    private_dns_name: str
    vpc_id: str
    subnet_id: str
    availability_zone: str
    network_interface_id: str
    """Of the primary interface; pod addresses are secondary addresses of it."""
    launch_time: float
    tags: dict[str, str] = field(default_factory=dict)
    user_data: str = ""
    """Decoded; for EKS nodes a nodeadm NodeConfig document (MIME multi-part, as managed node groups have it)."""
    cluster: str = ""
    """Name of the EKS cluster that the tags (`eks:cluster-name` or `kubernetes.io/cluster/NAME`) say it belongs to."""
    runtime: str = ""
    """`containerd` for a real node: the tag `twinplane.io/runtime`, else that node label in the user data."""
    role: str = ""
    """Name of the role of its instance profile."""
    root_volume_gibibytes: int = 0
    boots: int = 0
    """How often it was started again or rebooted: a machine that has booted with another number must boot again."""
    availability_zone_id: str = ""
    """`usw2-az1`: the same place in every account, whatever its name there."""
    leaving: bool = False
    """Its Auto Scaling group has given it up and waits for a lifecycle hook (Terminating:Wait)."""


ChangeListener = Callable[[str], None]
"""Called on the event loop after a mutating request, with the AWS service that changed (ec2, ...)."""


class CloudState(Protocol):
    """Read access to the account for the parts in the daemon; cheap to call, never blocks on the network."""

    def instances(self, cluster: str = "") -> list[Instance]:
        """All that are not yet forgotten (terminated ones stay an hour, as in EC2); of one cluster when named."""
        ...

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        """The running instance that owns a private address, primary or secondary."""
        ...

    def subscribe(self, listener: ChangeListener) -> None: ...


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    access_key_id: str
    secret_access_key: str
    session_token: str = ""


class AwsClients(Protocol):
    """botocore clients of the region's own endpoint; calls block, so they run in a thread."""

    def client(self, service: str) -> Any: ...
