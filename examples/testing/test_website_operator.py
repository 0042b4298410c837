"""An operator tested against a throwaway cluster: real API server, real controllers, simulated nodes, no containers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kopf.testing import KopfRunner

from twinplane.testing import RunningCluster

# kopf leaves the connections of its watches to the garbage collector: that is a warning, and here warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HERE = Path(__file__).parent
GROUP = "examples.twinplane.io"


@pytest.fixture
def websites(twinplane_cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The API of Websites, with the operator running."""
    monkeypatch.setenv("KUBECONFIG", str(twinplane_cluster.kubeconfig))
    kubernetes.config.load_kube_config(str(twinplane_cluster.kubeconfig))
    definition = yaml.safe_load((HERE / "website.crd.yaml").read_text())
    kubernetes.client.ApiextensionsV1Api().create_custom_resource_definition(definition)
    command = ["run", "--all-namespaces", "--standalone", str(HERE / "website_operator.py")]
    with KopfRunner(command, timeout=120):
        yield kubernetes.client.CustomObjectsApi()
    gc.collect()


def eventually(check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What `check` gives as soon as it gives something; not found counts as nothing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def website(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Website", "metadata": {"name": name}, "spec": spec}


@pytest.mark.twinplane(nodes=2)
def test_website_becomes_a_deployment_that_runs(websites: Any) -> None:
    apps = kubernetes.client.AppsV1Api()

    def replicas(count: int) -> bool:
        return bool(apps.read_namespaced_deployment("shop", "default").status.ready_replicas == count)

    websites.create_namespaced_custom_object(GROUP, "v1", "default", "websites", website("shop", image="nginx"))
    eventually(lambda: replicas(2))
    change = {"spec": {"replicas": 4}}
    websites.patch_namespaced_custom_object(GROUP, "v1", "default", "websites", "shop", change)
    eventually(lambda: replicas(4))
    websites.delete_namespaced_custom_object(GROUP, "v1", "default", "websites", "shop")
    # The garbage collector is part of the cluster: owned objects really go.
    eventually(lambda: not apps.list_namespaced_deployment("default").items)
    eventually(lambda: not kubernetes.client.CoreV1Api().list_namespaced_pod("default").items)


def test_website_without_an_image_is_refused(websites: Any) -> None:
    with pytest.raises(kubernetes.client.ApiException) as caught:
        websites.create_namespaced_custom_object(GROUP, "v1", "default", "websites", website("bad", replicas=1))
    assert caught.value.status == 422
    assert "spec.image: Required value" in caught.value.body
