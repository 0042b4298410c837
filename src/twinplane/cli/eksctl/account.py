"""The AWS calls of the command line: botocore clients of the region's endpoint, with eksctl's tags."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from twinplane.region.settings import Settings


class Account:
    """Clients are made on first use; botocore is imported then, since most commands need none."""

    def __init__(self, settings: Settings, access_key_id: str, secret_access_key: str, session_token: str = "") -> None:
        self.settings = settings
        self._keys = (access_key_id, secret_access_key, session_token or None)
        self._clients: dict[str, Any] = {}

    @cached_property
    def _session(self) -> Any:
        import botocore.session

        return botocore.session.Session()

    def client(self, service: str) -> Any:
        if service not in self._clients:
            from botocore.config import Config

            key, secret, token = self._keys
            self._clients[service] = self._session.create_client(
                service,
                region_name=self.settings.region,
                endpoint_url=self.settings.endpoint_url,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                config=Config(retries={"max_attempts": 1}, parameter_validation=False),
            )
        return self._clients[service]

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    @property
    def iam(self) -> Any:
        return self.client("iam")

    @property
    def eks(self) -> Any:
        return self.client("eks")


def cluster_tags(cluster: str) -> dict[str, str]:
    """What eksctl puts on everything that it makes for a cluster, and finds it by again."""
    return {
        "alpha.eksctl.io/cluster-name": cluster,
        "eksctl.cluster.k8s.io/v1alpha1/cluster-name": cluster,
    }


def specification(
    kind: str, cluster: str, logical_name: str, more: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """EC2's TagSpecifications; `logical_name` is the resource's name in eksctl's stack, e.g. `SubnetPublicUSWEST2A`."""
    tags = {**cluster_tags(cluster), "Name": f"eksctl-{cluster}-cluster/{logical_name}", **(more or {})}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
