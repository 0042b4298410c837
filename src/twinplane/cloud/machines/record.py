"""What the region tells a machine: `machine.json`, `credentials.json` (see `dataplane.node.contract`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twinplane.cloud.contract import AwsCredentials, Instance
from twinplane.edge import AWS_ENDPOINT

DEFAULT_ROOT_VOLUME = 20
"""GiB, for an instance whose image does not say."""


class TemporaryCredentials(Protocol):
    def __call__(self, role_session_arn: str, expiration: float | None = None) -> AwsCredentials:
        """`Cloud.issue_service_credentials`."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What only the rest of the region knows; each may wait until it is known."""

    region: str
    account_id: str
    instance_type: Callable[[str], Awaitable[dict[str, Any] | None]]
    """`Account.instance_type`."""
    credentials: TemporaryCredentials
    api_servers: Callable[[str], Awaitable[Sequence[str]]]
    """Of a cluster: URLs of its cross-account ENIs, `https://192.168.0.10`."""
    host_address: Callable[[str, str], str | None]
    """`Edges.to_host`: of a VPC and an address in it."""
    kubernetes_version: Callable[[str], str]
    """Of an image id: the version of the kubelet that it has, `v1.36.1-eks-...`."""
    instance_store: Callable[[Instance], Awaitable[Sequence[str]]]
    """Devices or directories of the instance-store volumes of the type."""


def machine_record(
    instance: Instance,
    surroundings: Surroundings,
    facts: Mapping[str, Any],
    *,
    cgroup: str,
    api_servers: Sequence[str],
    instance_store: Sequence[str],
) -> dict[str, Any]:
    """`facts` are the type's, as `Account.instance_type` has them."""
    return {
        "instanceId": instance.instance_id,
        "instanceType": instance.instance_type,
        "imageId": instance.image_id,
        "region": surroundings.region,
        "availabilityZone": instance.availability_zone,
        "accountId": surroundings.account_id,
        "vpcId": instance.vpc_id,
        "subnetId": instance.subnet_id,
        "networkInterfaceId": instance.network_interface_id,
        "privateIp": instance.private_ip,
        "privateDnsName": instance.private_dns_name,
        "cluster": instance.cluster,
        "userData": instance.user_data,
        "awsEndpoint": AWS_ENDPOINT,
        "apiServers": list(api_servers),
        "hostAddress": surroundings.host_address(instance.vpc_id, instance.private_ip) or instance.private_ip,
        "cgroup": cgroup,
        "vcpus": facts["vcpus"],
        "memoryMebibytes": facts["memoryMiB"],
        "rootVolumeGibibytes": instance.root_volume_gibibytes or DEFAULT_ROOT_VOLUME,
        "instanceStore": list(instance_store),
        "tags": instance.tags,
        "kubernetesVersion": surroundings.kubernetes_version(instance.image_id),
        "maxPods": facts["maxPods"],
    }


def credentials_record(credentials: AwsCredentials, expiration: float) -> dict[str, Any]:
    """`expiration` in seconds since the epoch."""
    return {
        "accessKeyId": credentials.access_key_id,
        "secretAccessKey": credentials.secret_access_key,
        "sessionToken": credentials.session_token,
        "expiration": expiration,
    }
