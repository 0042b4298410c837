"""A pod that gets a node gets its zone and region."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.api.harness import Api, api_server
from tests.unit.api.harness import pod as api_pod
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.pod_topology_labels import PodTopologyLabels
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import NODES, PODS

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OTHER = {"kubernetes.io/hostname": "n", "topology.k8s.aws/zone-id": "usw2-az1", "topology.kubernetes.io/rack": "r"}


def node(**labels: str) -> tuple[Any, Object]:
    return NODES, {"metadata": {"name": "n", "labels": {**OTHER, **labels}}}


def binding(kind: str = "Node", name: str = "n", **labels: str) -> Object:
    made = named("web", "shop", target={"kind": kind, "name": name})
    return {**made, "metadata": {**made["metadata"], "labels": labels}} if labels else made


def pod(node: str = "n", **labels: str) -> Object:
    made = named("web", "shop", spec={"nodeName": node} if node else {})
    return {**made, "metadata": {**made["metadata"], "labels": labels}} if labels else made


BOTH = node(**{ZONE: "us-west-2a", REGION: "us-west-2"})
CASES = [
    ("binding", binding(), BOTH, {ZONE: "us-west-2a", REGION: "us-west-2"}),
    ("binding", binding(app="web"), BOTH, {"app": "web", ZONE: "us-west-2a", REGION: "us-west-2"}),
    ("binding", binding(**{ZONE: "mine"}), BOTH, {ZONE: "us-west-2a", REGION: "us-west-2"}),
    ("binding", binding(), node(**{ZONE: "us-west-2a"}), {ZONE: "us-west-2a"}),
    ("binding", binding(), node(), None),
    ("binding", binding(kind=""), BOTH, None),
    ("binding", binding(name="gone"), BOTH, None),
    ("", pod(), BOTH, {ZONE: "us-west-2a", REGION: "us-west-2"}),
    ("", pod(**{ZONE: "mine"}), BOTH, {ZONE: "us-west-2a", REGION: "us-west-2"}),
    ("", pod(**{ZONE: "mine"}), node(), {ZONE: "mine"}),
    ("", pod(node=""), BOTH, None),
    ("", pod(node="", **{ZONE: "mine"}), BOTH, {ZONE: "mine"}),
    ("", pod(node="gone"), BOTH, None),
    ("eviction", binding(), BOTH, None),
]


@pytest.mark.parametrize(("subresource", "body", "there", "labels"), CASES)
async def test_labels_come_from_the_node(
    subresource: str, body: Object, there: tuple[Any, Object], labels: dict[str, str] | None
) -> None:
    asked = request(PODS, body, subresource=subresource)
    plugin = PodTopologyLabels(Cluster(there).reader)
    made = await send(asked, plugin)
    assert made["metadata"].get("labels") == labels
    if subresource == "":
        assert plugin.handles(asked)
        assert not plugin.handles(request(PODS, body, old=body))


async def test_pods_have_them_and_nobody_owns_them() -> None:
    async with api_server() as server:
        plugin = PodTopologyLabels(CacheReader(server.runtime.cache, server.runtime.registry))
        api = Api(replace(server.runtime, admission=(plugin,), admission_plans={}))
        await api.client.create(NODES, BOTH[1])
        await api.client.create(PODS, api_pod("late"), "default")
        target = {"metadata": {"name": "late"}, "target": {"kind": "Node", "name": "n"}}
        await api.client.create(PODS, target, "default", name="late", subresource="binding")
        at_once = api_pod("at-once")
        at_once["spec"]["nodeName"] = "n"
        for _ in range(3):
            await api.client.create(PODS, at_once, "default")
            made = await api.client.get(PODS, "at-once", "default")
            assert made["metadata"]["labels"][ZONE] == "us-west-2a"
            await api.client.delete(PODS, "at-once", "default", grace_period_seconds=0)
        bound = await api.client.get(PODS, "late", "default")
        assert bound["metadata"]["labels"].items() >= {ZONE: "us-west-2a", REGION: "us-west-2"}.items()
        for each in (made, bound):
            assert all("f:topology" not in str(entry) for entry in each["metadata"]["managedFields"])
