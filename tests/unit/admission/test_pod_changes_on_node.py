"""Resizes that a node cannot make are refused when they are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.pod_changes_on_node import NodeDeclaredFeatureValidator, PodResizeValidator
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NODES, PODS

ALLOCATABLE = {"cpu": "2", "memory": "1Gi"}


def node(*features: str, system: str = "linux") -> tuple[Any, Object]:
    status = {"allocatable": ALLOCATABLE, "declaredFeatures": list(features)}
    return NODES, {"metadata": {"name": "a", "labels": {"kubernetes.io/os": system}}, "status": status}


def pod(cpu: str = "1", memory: str = "1Mi", **spec: Any) -> Object:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return named("web", "shop", spec={"nodeName": "a", "containers": [container]} | spec)


async def refusal(cluster: Cluster, after: Object, before: Object) -> ApiError | None:
    asked = request(PODS, after, old=before, subresource="resize")
    try:
        await send(asked, NodeDeclaredFeatureValidator(cluster.reader), PodResizeValidator(cluster.reader))
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("after", "short"),
    [
        (pod("2", "1Gi"), ""),
        (pod("2001m"), "cpu, requested: 2001, allocatable: 2000"),
        (
            pod("3", "2Gi"),
            "cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
        ),
    ],
)
async def test_more_than_the_node_has_is_refused(after: Object, short: str) -> None:
    error = await refusal(Cluster(node()), after, pod())
    if not short:
        assert error is None
        return
    assert error is not None
    assert error.message == (f'pods "web" is forbidden: node didn\'t have enough allocatable resources: {short}')
    assert error.status()["details"]["causes"] == [{"reason": "NodeCapacity"}]


async def test_pods_without_a_node_ask_for_what_they_like() -> None:
    assert await refusal(Cluster(), pod("9", nodeName=""), pod(nodeName="")) is None


async def test_windows_nodes_resize_nothing() -> None:
    error = await refusal(Cluster(node(system="windows")), pod("2"), pod())
    assert error is not None
    assert error.message.endswith('pod resize is only supported on linux nodes, node "a" is "windows"')


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"resources": {"requests": {"cpu": "1"}}}, "InPlacePodLevelResourcesVerticalScaling"),
        (
            {"initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}]},
            "InPlacePodVerticalScalingInitContainers",
        ),
    ],
)
async def test_some_resizes_take_a_kubelet_that_declares_them(change: dict[str, Any], feature: str) -> None:
    before = pod(initContainers=[{"name": "i"}]) if "initContainers" in change else pod()
    error = await refusal(Cluster(node()), pod(**change), before)
    assert error is not None
    expected = f'pods "web" is forbidden: pod update requires features {feature} which are not available on node "a"'
    assert error.message == expected
    assert await refusal(Cluster(node(feature)), pod(**change), before) is None
