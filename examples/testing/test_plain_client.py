"""The official Python client, kubectl and an async test against throwaway clusters."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
import yaml

from twinplane.kubeclient.resources import DEPLOYMENTS, PODS
from twinplane.testing import Cluster, RunningCluster


@pytest.fixture
def api(twinplane_cluster: RunningCluster) -> Iterator[Any]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(twinplane_cluster.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client:
        yield client


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }


@pytest.mark.twinplane(nodes=3)
def test_deployment_is_spread_over_zones(twinplane_cluster: RunningCluster, twinplane_namespace: str, api: Any) -> None:
    kubernetes.client.AppsV1Api(api).create_namespaced_deployment(twinplane_namespace, deployment("web", 3))
    twinplane_cluster.settle()
    pods = kubernetes.client.CoreV1Api(api).list_namespaced_pod(twinplane_namespace).items
    assert [pod.status.phase for pod in pods] == ["Running"] * 3
    assert len({pod.spec.node_name for pod in pods}) == 3


def test_conflict_is_the_real_one(twinplane_namespace: str, api: Any) -> None:
    core = kubernetes.client.CoreV1Api(api)
    first = core.create_namespaced_config_map(twinplane_namespace, {"metadata": {"name": "a"}, "data": {"x": "1"}})
    core.patch_namespaced_config_map("a", twinplane_namespace, {"data": {"x": "2"}})
    with pytest.raises(kubernetes.client.ApiException, match="the object has been modified"):
        core.replace_namespaced_config_map("a", twinplane_namespace, first)


def test_user_without_rights(twinplane_cluster: RunningCluster) -> None:
    configuration = kubernetes.client.Configuration()
    text = twinplane_cluster.kubeconfig_text("jane", ["developers"])
    kubernetes.config.load_kube_config_from_dict(yaml.safe_load(text), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client, pytest.raises(kubernetes.client.ApiException) as caught:
        kubernetes.client.CoreV1Api(client).list_namespaced_secret("default")
    assert caught.value.status == 403


@pytest.mark.twinplane(nodes=2, instance_type="t3.medium")
def test_kubectl(twinplane_cluster: RunningCluster) -> None:
    command = ["kubectl", "--kubeconfig", str(twinplane_cluster.kubeconfig), "get", "nodes", "-o", "name"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert len(listed.splitlines()) == 2


@pytest.mark.twinplane(nodes=1)
async def test_on_the_loop_of_the_test(twinplane_async_cluster: Cluster) -> None:
    """No thread and no socket: the cluster is part of this event loop."""
    client = twinplane_async_cluster.client()
    await client.create(DEPLOYMENTS, deployment("web", 2), "default")
    await twinplane_async_cluster.settle()
    pods = (await client.list(PODS, "default")).items
    assert [pod["status"]["phase"] for pod in pods] == ["Running", "Running"]
