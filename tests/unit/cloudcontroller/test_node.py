"""Nodes and their instances, the feed answered by the test."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.cloudcontroller.world import NODES, World, world
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.kubeclient.contract import Object
from twinplane.testing.virtual_time import virtual_time

NAME = "ip-192-168-96-10.us-west-2.compute.internal"


def instance(state: str = "running", instance_id: str = "i-0123") -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "state": state,
        "instance_type": "m5.large",
        "private_ip": "192.168.96.10",
        "private_dns_name": NAME,
        "availability_zone": "us-west-2b",
        "availability_zone_id": "usw2-az2",
    }


def registered() -> Object:
    """As a kubelet registers with an external cloud provider."""
    taints = [
        {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"},
        {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
    ]
    return {"metadata": {"name": NAME, "labels": {"role": "db"}}, "spec": {"taints": taints}}


def found(made: World) -> Object:
    return made.cluster.object(NODES, NAME) or {}


async def initialized(made: World) -> None:
    await made.answers.put({"revision": 7, "instances": [instance()]})
    await made.cluster.create(NODES, registered())
    await made.until(lambda: found(made)["spec"].get("providerID"))


async def test_a_new_node_learns_where_it_runs() -> None:
    async with world() as made:
        await initialized(made)
        await made.until(lambda: (found(made).get("status") or {}).get("addresses"))
        node = found(made)
        assert node["spec"]["providerID"] == "aws:///us-west-2b/i-0123"
        assert [taint["key"] for taint in node["spec"]["taints"]] == ["dedicated"]
        assert node["metadata"]["labels"] == {
            "role": "db",
            "node.kubernetes.io/instance-type": "m5.large",
            "beta.kubernetes.io/instance-type": "m5.large",
            "topology.kubernetes.io/zone": "us-west-2b",
            "failure-domain.beta.kubernetes.io/zone": "us-west-2b",
            "topology.kubernetes.io/region": "us-west-2",
            "failure-domain.beta.kubernetes.io/region": "us-west-2",
            "k8s.io/cloud-provider-aws": "66990c43bceabd79ab8196895199b083",
            "topology.k8s.aws/zone-id": "usw2-az2",
        }
        assert {entry["type"]: entry["address"] for entry in node["status"]["addresses"]} == {
            "InternalIP": "192.168.96.10",
            "InternalDNS": NAME,
            "Hostname": NAME,
        }
        assert made.paths == [
            "/_twinplane/clusters/demo/instances?after=0&timeout=30",
            "/_twinplane/clusters/demo/instances?after=7&timeout=30",
        ]


async def test_a_stopped_instance_taints_its_node_until_it_runs_again() -> None:
    async with world() as made:
        await initialized(made)
        await made.answers.put({"revision": 8, "instances": [instance("stopped")]})
        await made.until(lambda: len(found(made)["spec"]["taints"]) == 2)
        assert found(made)["spec"]["taints"][1]["key"] == "node.cloudprovider.kubernetes.io/shutdown"
        await made.answers.put({"revision": 9, "instances": [instance()]})
        await made.until(lambda: len(found(made)["spec"]["taints"]) == 1)


async def test_a_terminated_instance_takes_its_node_with_it() -> None:
    async with world() as made:
        await initialized(made)
        await made.answers.put({"revision": 8, "instances": [instance("terminated")]})
        await made.until(lambda: not found(made))
        assert "DeletingNode" in made.events.reasons


async def test_a_node_that_nobody_knows_goes_only_when_it_is_not_ready() -> None:
    async with world() as made:
        await made.answers.put({"revision": 1, "instances": []})
        for name, ready in (("alive", "True"), ("dead", "Unknown")):
            status = {"conditions": [{"type": "Ready", "status": ready}]}
            spec = {"providerID": f"aws:///us-west-2a/i-{name}"}
            await made.cluster.create(NODES, {"metadata": {"name": name}, "spec": spec, "status": status})
        await made.until(lambda: [entry["metadata"]["name"] for entry in made.cluster.objects(NODES)] == ["alive"])


async def test_a_name_that_came_back_is_a_new_instance() -> None:
    async with world() as made:
        await made.answers.put({"revision": 1, "instances": [instance("terminated", "i-old"), instance()]})
        await made.cluster.create(NODES, registered())
        await made.until(lambda: found(made)["spec"].get("providerID"))
        assert found(made)["spec"]["providerID"].endswith("/i-0123")


@virtual_time
async def test_the_feed_goes_on_when_the_region_comes_back() -> None:
    asked: list[str] = []

    async def fetch(path: str) -> dict[str, Any]:
        asked.append(path)
        match len(asked):
            case 2:
                raise ConnectionRefusedError
            case 3:
                raise ValueError("no JSON")
            case 5:
                await asyncio.sleep(3600)
        return {"revision": len(asked), "instances": [instance(), instance(instance_id=f"i-{len(asked)}")]}

    feed = InstanceFeed(fetch, "demo")
    seen: list[tuple[str, str]] = []
    feed.subscribe(lambda entry: seen.append((entry["instance_id"], entry["state"])))
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(60)
    task.cancel()
    assert [path.partition("after=")[2] for path in asked] == [f"{n}&timeout=30" for n in (0, 1, 0, 0, 4)]
    assert seen == [("i-0123", "running"), ("i-1", "running"), ("i-4", "running"), ("i-1", "terminated")]
    assert feed.by_id("i-4") is not None
    assert feed.by_id("i-1") is None
