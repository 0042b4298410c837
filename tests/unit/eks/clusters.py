"""A cluster in a fake region: the roles, the network, and waiting as boto3 waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.cloud.regions import ACCOUNT, Network, Region, in_thread, network

CLUSTER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/cluster"
NODE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/node"
NAME = "demo"


@dataclass(frozen=True)
class Demo:
    region: Region
    place: Network

    async def eks(self, operation: str, **parameters: Any) -> Any:
        return await self.region.call("eks", operation, **parameters)

    async def refused(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await refused(self.region, operation, **parameters)

    async def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.eks("describe_cluster", name=NAME))["cluster"]
        return found

    async def nodegroup(self, name: str = "ng") -> dict[str, Any]:
        answer = await self.eks("describe_nodegroup", clusterName=NAME, nodegroupName=name)
        found: dict[str, Any] = answer["nodegroup"]
        return found

    async def add_nodegroup(self, name: str = "ng", **options: Any) -> dict[str, Any]:
        await self.eks("create_nodegroup", **(nodegroup(self.place, name) | options))
        await wait(self.region, "nodegroup_active", clusterName=NAME, nodegroupName=name)
        return await self.nodegroup(name)

    async def update(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Ask for an update and wait for its end."""
        made = (await self.eks(operation, **parameters))["update"]
        where = {"name": NAME, "updateId": made["id"]}
        for _ in range(10_000):
            found: dict[str, Any] = (await self.eks("describe_update", **where))["update"]
            if found["status"] != "InProgress":
                return found
        raise AssertionError(f"{operation} does not end")

    def nodes(self) -> list[Any]:
        return [found for found in self.region.cloud.state.instances(NAME) if found.state == "running"]


def nodegroup(place: Network, name: str = "ng") -> dict[str, Any]:
    return {
        "clusterName": NAME,
        "nodegroupName": name,
        "subnets": place.subnets,
        "nodeRole": NODE_ROLE,
        "scalingConfig": {"minSize": 1, "maxSize": 4, "desiredSize": 3},
        "instanceTypes": ["m5.large"],
    }


def request(place: Network, **options: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "roleArn": CLUSTER_ROLE,
        "resourcesVpcConfig": {"subnetIds": place.subnets},
        "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        **options,
    }


async def prepare(region: Region) -> Demo:
    """Roles and network, no cluster yet."""
    for role in ("cluster", "node"):
        await region.call("iam", "create_role", RoleName=role, AssumeRolePolicyDocument="{}")
    return Demo(region, await network(region))


async def make(region: Region, **options: Any) -> Demo:
    demo = await prepare(region)
    await demo.eks("create_cluster", **request(demo.place, **options))
    await wait(region, "cluster_active", name=NAME)
    return demo


async def wait(region: Region, waiter: str, **parameters: Any) -> None:
    found = region.client("eks").get_waiter(waiter)
    await in_thread(found.wait, **parameters, WaiterConfig={"Delay": 0.005, "MaxAttempts": 10_000})


async def refused(region: Region, operation: str, **parameters: Any) -> dict[str, Any]:
    """The whole answer of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        await region.call("eks", operation, **parameters)
    response: dict[str, Any] = caught.value.response
    return response
