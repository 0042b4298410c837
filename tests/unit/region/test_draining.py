"""Draining a node group: what is evicted, what is left alone, and when it gives up."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object, ObjectList, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NODES
from twinplane.region.draining import NODEGROUP_LABEL, drain


def node(name: str, nodegroup: str, *, ready: bool = True) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
    labels = {NODEGROUP_LABEL: nodegroup}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"conditions": conditions}}


def pod(name: str, on: str, **metadata: Any) -> Object:
    metadata = {"name": name, "namespace": "default", **metadata}
    return {"metadata": metadata, "spec": {"nodeName": on}, "status": {"phase": "Running"}}


class Cluster:
    """The few requests of a `KubeClient`; a budget refuses so many evictions of those in `protected`."""

    def __init__(self, nodes: list[Object], pods: list[Object], protected: dict[str, int]) -> None:
        self.nodes, self.pods, self.protected = nodes, pods, protected
        self.evicted: list[str] = []

    async def list(self, resource: Resource, *, field_selector: str = "") -> ObjectList:
        on = field_selector.removeprefix("spec.nodeName=")
        pods = [item for item in self.pods if on in ("", item["spec"]["nodeName"])]
        return ObjectList(list(self.nodes if resource is NODES else pods), "1")

    async def patch(self, resource: Resource, name: str, patch: Any) -> Object:
        assert resource is NODES
        found = next(item for item in self.nodes if item["metadata"]["name"] == name)
        found["spec"] |= patch["spec"]
        return found

    async def create(self, resource: Resource, body: Object, **where: Any) -> Object:
        assert where["subresource"] == "eviction"
        name = body["metadata"]["name"]
        if self.protected.get(name, 0) > 0:
            self.protected[name] -= 1
            raise ApiError("TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        self.evicted.append(name)
        self.pods = [item for item in self.pods if item["metadata"]["name"] != name]
        return body


async def drained(cluster: Cluster, node: str = "") -> list[str]:
    await drain(cluster, "old", node)  # type: ignore[arg-type]  # the few requests that it makes
    return cluster.evicted


async def test_pods_of_the_group_are_evicted_and_others_stay() -> None:
    daemon = {"ownerReferences": [{"kind": "DaemonSet", "controller": True}]}
    mirror = {"annotations": {"kubernetes.io/config.mirror": "1"}}
    pods = [pod("a", "n1"), pod("b", "n2"), pod("c", "n1", **daemon), pod("d", "n1", **mirror), pod("e", "lost")]
    done = pod("f", "n1")
    done["status"]["phase"] = "Succeeded"
    nodes = [node("n1", "old"), node("n2", "new"), node("lost", "old", ready=False)]
    cluster = Cluster(nodes, [*pods, done], {})
    assert await drained(cluster) == ["a", "f"]
    assert [item["spec"].get("unschedulable", False) for item in nodes] == [True, False, False]


async def test_a_budget_is_waited_for_while_there_is_another_node() -> None:
    cluster = Cluster([node("n1", "old"), node("n2", "new")], [pod("a", "n1"), pod("b", "n1")], {"b": 3})
    assert await drained(cluster) == ["a", "b"]


async def test_a_budget_is_not_waited_for_when_no_node_is_left() -> None:
    cluster = Cluster([node("n1", "old")], [pod("a", "n1"), pod("b", "n1")], {"b": 1000})
    assert await drained(cluster) == ["a"]


async def test_one_node_of_a_group_alone() -> None:
    nodes = [node("n1", "old"), node("n2", "old")]
    cluster = Cluster(nodes, [pod("a", "n1"), pod("b", "n2")], {"a": 2})
    assert await drained(cluster, "n1") == ["a"]
    assert [item["spec"].get("unschedulable", False) for item in nodes] == [True, False]
    assert await drained(cluster, "of another group") == ["a"]
