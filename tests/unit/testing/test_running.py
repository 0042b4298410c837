"""A throwaway cluster on a thread, and the blocking clients that it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.testing.objects import config_map, deployment
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS, DEPLOYMENTS
from twinplane.testing import running_cluster

KUBECTL = Path(sys.executable).with_name("kubectl")


def test_blocking_client() -> None:
    with running_cluster() as running:
        client = running.client()
        client.create(CONFIG_MAPS, config_map("a", x="1"))
        assert client.get(CONFIG_MAPS, "a", "default")["data"] == {"x": "1"}
        with pytest.raises(ApiError):
            client.get(CONFIG_MAPS, "b", "default")
        with pytest.raises(AttributeError, match="event loop"):
            client.watch(CONFIG_MAPS)


def test_nodes_come_and_pods_run() -> None:
    with running_cluster(nodes=1) as running:
        running.add_nodes(1)
        running.client().create(DEPLOYMENTS, deployment(3))
        running.settle()
        assert running.client().get(DEPLOYMENTS, "web", "default")["status"]["readyReplicas"] == 3


def test_official_python_client() -> None:
    kubernetes = pytest.importorskip("kubernetes")
    with running_cluster(nodes=1) as running:
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(running.kubeconfig), client_configuration=configuration)
        with kubernetes.client.ApiClient(configuration) as api:
            core, apps = kubernetes.client.CoreV1Api(api), kubernetes.client.AppsV1Api(api)
            apps.create_namespaced_deployment("default", deployment(2))
            running.settle()
            pods = core.list_namespaced_pod("default", label_selector="app=web").items
            assert [pod.status.phase for pod in pods] == ["Running", "Running"]


@pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl is not installed beside Python")
def test_kubectl() -> None:
    with running_cluster(nodes=2) as running:
        command = [str(KUBECTL), "--kubeconfig", str(running.kubeconfig), "get", "nodes", "--no-headers"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
        assert [line.split()[1] for line in listed.splitlines()] == ["Ready", "Ready"]


def test_failure_of_the_block_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError), running_cluster():
        raise ZeroDivisionError


def test_failure_to_start_is_raised_here() -> None:
    with pytest.raises(ValueError, match="zones"), running_cluster(zones=9):
        pass
