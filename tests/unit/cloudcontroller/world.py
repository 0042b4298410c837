"""A cluster in memory and an account in moto: what the cloud controller sees, without a process or a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from random import Random
from typing import Any

import boto3

from tests.unit.moto_awake import mock_aws
from twinplane.clock import SystemClock
from twinplane.controlplane.cloudcontroller.all import controllers
from twinplane.controlplane.cloudcontroller.ingress.bootstrap import bootstrap_objects
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.resources import ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, NODES, SERVICES
from twinplane.testing.memory_cluster import MemoryCluster

REGION = "us-west-2"
CLUSTER = "demo"


class Events:
    """An `EventRecorder` that keeps (type, reason, message)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        self.seen.append((type, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.seen]


@cache
def shared_client(service: str) -> Any:
    """One for all tests: it holds no state of the mocked account, and takes a second to make."""
    return boto3.client(service, REGION, aws_access_key_id="test", aws_secret_access_key="test")


class Account:
    """botocore clients of a mocked account with the VPC that eksctl makes: three zones, public and private subnets."""

    def __init__(self) -> None:
        self._watched: set[str] = set()
        self.calls: list[str] = []
        ec2 = self.client("ec2")
        self.vpc_id: str = ec2.create_vpc(CidrBlock="192.168.0.0/16")["Vpc"]["VpcId"]
        self.public: list[str] = []
        self.private: list[str] = []
        for index, zone in enumerate("abc"):
            for offset, role, made in ((0, "elb", self.public), (96, "internal-elb", self.private)):
                subnet = ec2.create_subnet(
                    VpcId=self.vpc_id,
                    CidrBlock=f"192.168.{offset + 32 * index}.0/20",
                    AvailabilityZone=f"{REGION}{zone}",
                )["Subnet"]["SubnetId"]
                tags = [{"Key": f"kubernetes.io/role/{role}", "Value": "1"}]
                ec2.create_tags(Resources=[subnet], Tags=tags)
                made.append(subnet)
        group = ec2.create_security_group(GroupName="eks-cluster-sg-demo", Description="-", VpcId=self.vpc_id)
        self.node_group: str = group["GroupId"]
        tags = [{"Key": f"kubernetes.io/cluster/{CLUSTER}", "Value": "owned"}]
        ec2.create_tags(Resources=[self.node_group], Tags=tags)

    def client(self, service: str) -> Any:
        made = shared_client(service)
        if service not in self._watched:
            self._watched.add(service)
            made.meta.events.register("before-call", self._note)
        return made

    def close(self) -> None:
        for service in self._watched:
            shared_client(service).meta.events.unregister("before-call", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        self.calls.append(model.name)

    def run_instances(self, count: int) -> list[str]:
        ec2 = self.client("ec2")
        answer = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=count, MaxCount=count, SubnetId=self.private[0], InstanceType="m5.large"
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]


class World:
    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.cluster.seed(INGRESS_CLASSES, *bootstrap_objects())
        self.account = Account()
        self.events = Events()
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(10)
        self.feed = InstanceFeed(self._fetch, CLUSTER)
        self.paths: list[str] = []
        informers = SharedInformers(self.cluster)
        context = Context(self.cluster, informers, SystemClock(), Random(0), self.events, {"cluster-name": CLUSTER})
        made = controllers(
            context, self.account, cluster_name=CLUSTER, vpc_id=self.account.vpc_id, region=REGION, feed=self.feed
        )
        self.runner = ControllerRunner(made, informers)

    async def _fetch(self, path: str) -> dict[str, Any]:
        self.paths.append(path)
        return await self.answers.get()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.runner.run())
            tasks.create_task(self.feed.run())

    async def until(self, condition: Callable[[], object]) -> None:
        """Until it holds and the controllers rest; two minutes at most."""
        for _ in range(12_000):
            await asyncio.sleep(0.01)
            if self.runner.idle and condition():
                return
        raise AssertionError(f"it did not come true; events: {self.events.seen}")

    async def add_nodes(self, *instance_ids: str) -> None:
        for number, instance_id in enumerate(instance_ids):
            await self.cluster.create(NODES, node(f"node-{instance_id}-{number}", instance_id))

    def hostname(self, name: str, resource: Any = SERVICES) -> str:
        found = self.cluster.object(resource, name, "shop") or {}
        ingress = (found.get("status") or {}).get("loadBalancer", {}).get("ingress") or [{}]
        return str(ingress[0].get("hostname", ""))

    def classic(self) -> list[dict[str, Any]]:
        return list(self.account.client("elb").describe_load_balancers()["LoadBalancerDescriptions"])

    def balancers(self) -> list[dict[str, Any]]:
        return list(self.account.client("elbv2").describe_load_balancers()["LoadBalancers"])

    def target_groups(self) -> list[dict[str, Any]]:
        return list(self.account.client("elbv2").describe_target_groups()["TargetGroups"])

    def targets(self, name: str) -> set[tuple[str, int]]:
        elbv2 = self.account.client("elbv2")
        arn = next(group["TargetGroupArn"] for group in self.target_groups() if group["TargetGroupName"] == name)
        health = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {(entry["Target"]["Id"], entry["Target"]["Port"]) for entry in health}

    def listeners(self, balancer: dict[str, Any]) -> list[dict[str, Any]]:
        found = self.account.client("elbv2").describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
        return list(found["Listeners"])

    def rules(self, listener: dict[str, Any]) -> list[dict[str, Any]]:
        """Without the default rule."""
        found = self.account.client("elbv2").describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
        return [rule for rule in found if rule["Priority"] != "default"]

    def security_groups(self) -> dict[str, dict[str, Any]]:
        found = self.account.client("ec2").describe_security_groups()["SecurityGroups"]
        return {group["GroupName"]: group for group in found}

    def rules_for_nodes(self, described: str) -> set[tuple[str, int, str, str]]:
        """(protocol, first port, CIDR, description) of all groups' rules whose description ends so."""
        return {
            (entry["IpProtocol"], entry["FromPort"], item["CidrIp"], item["Description"])
            for group in self.security_groups().values()
            for entry in group["IpPermissions"]
            for item in entry["IpRanges"]
            if item.get("Description", "").endswith(described)
        }


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    with mock_aws():
        made = World()
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            made.account.close()


def node(name: str, instance_id: str, *, ready: bool = True) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"providerID": f"aws:///us-west-2a/{instance_id}"},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def service(name: str = "web", *, type: str = "LoadBalancer", spec: Object | None = None, **annotations: str) -> Object:
    """Annotations without their prefix and with underscores: `type="nlb"`."""
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "annotations": {prefix + key.replace("_", "-"): value for key, value in annotations.items()},
        },
        "spec": {
            "type": type,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}],
            **(spec or {}),
        },
    }


def ingress(name: str = "shop", *, spec: Object | None = None, **annotations: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "annotations": {
                "alb.ingress.kubernetes.io/" + key.replace("__", ".").replace("_", "-"): value
                for key, value in annotations.items()
            },
        },
        "spec": {"ingressClassName": "alb", **(spec or {"rules": [{"http": {"paths": [path("/", "web")]}}]})},
    }


def path(pattern: str, service: str, kind: str = "Prefix", port: int | str = 80) -> Object:
    reference = {"number": port} if isinstance(port, int) else {"name": port}
    return {"path": pattern, "pathType": kind, "backend": {"service": {"name": service, "port": reference}}}


def endpoint_slice(service: str, *addresses: str, port: int = 8080) -> Object:
    return {
        "metadata": {
            "name": f"{service}-x1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


__all__ = ["ENDPOINT_SLICES", "INGRESSES", "NODES", "SERVICES", "World", "endpoint_slice", "ingress", "path", "world"]
