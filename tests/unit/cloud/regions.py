"""A whole cloud on a loopback port inside the test process, with control planes made of nothing."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config

from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.eks.contract import ControlPlaneEndpoint, ControlPlaneFailed, ControlPlaneSpec
from twinplane.cloud.service import Cloud

REGION = "us-west-2"
ACCOUNT = "123456789012"

T = TypeVar("T")


@functools.cache
def _session() -> Any:
    """One for all tests: it keeps the service models that it parsed."""
    return botocore.session.Session()


@dataclass
class FakeControlPlanes:
    """Implements `ControlPlanes`: a dictionary, a gate to hold them back, and a way to fail."""

    running: dict[str, ControlPlaneSpec] = field(default_factory=dict)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = ""
    token_keys: dict[str, str] = field(default_factory=dict)
    """Of clusters by name, PEM."""
    drained: list[str] = field(default_factory=list)
    """Node groups, as CLUSTER/NAME."""

    def __post_init__(self) -> None:
        self.open.set()

    async def provision(self, spec: ControlPlaneSpec) -> ControlPlaneEndpoint:
        await self.open.wait()
        if self.failure:
            raise ControlPlaneFailed(self.failure)
        self.running[spec.name] = spec
        return ControlPlaneEndpoint(f"https://127.0.0.1:6443/{spec.name}", "Q0E=")

    def token_key(self, name: str) -> str:
        return self.token_keys.get(name, "")

    async def drain(self, name: str, nodegroup: str, node: str = "") -> None:
        self.drained.append(f"{name}/{nodegroup}" + (f"/{node}" if node else ""))

    async def deprovision(self, name: str) -> None:
        await self.open.wait()
        self.running.pop(name, None)


@dataclass
class Region:
    cloud: Cloud
    control_planes: FakeControlPlanes
    directory: Path

    def client(self, service: str, credentials: AwsCredentials | None = None, region: str = REGION) -> Any:
        keys = credentials or self.cloud.credentials
        return _session().create_client(
            service,
            region_name=region,
            endpoint_url=self.cloud.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token or None,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    async def call(self, service: str, operation: str, **parameters: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client(service), operation), **parameters)


@asynccontextmanager
async def region(directory: Path, port: int = 0, **options: Any) -> AsyncIterator[Region]:
    planes = FakeControlPlanes()
    cloud = Cloud(directory, REGION, ACCOUNT, planes, port=port, random_source=random.Random(7), **options)
    await cloud.start()
    try:
        yield Region(cloud, planes, directory)
    finally:
        await cloud.stop()


async def in_thread(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    return await asyncio.to_thread(work, *arguments, **options)


@dataclass(frozen=True)
class Network:
    vpc: str
    subnets: list[str]


async def network(where: Region, cidr: str = "192.168.0.0/16", zones: str = "abc") -> Network:
    """A VPC with a /24 in each zone."""
    ec2 = where.client("ec2")

    def make() -> Network:
        vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        prefix = ".".join(cidr.split(".")[:2])
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"{prefix}.{index}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for index, zone in enumerate(zones)
        ]
        return Network(vpc, [subnet["Subnet"]["SubnetId"] for subnet in subnets])

    return await in_thread(make)
