"""The official Python client: typed objects, watch, patch, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.region_process import RegionProcess


@pytest.fixture
def core(region: RegionProcess) -> Iterator[Any]:
    import kubernetes

    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(region.environment["KUBECONFIG"], client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client:
        yield kubernetes.client.CoreV1Api(client)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"of": "python"}}, "data": data}


def test_create_read_patch_delete(core: Any, namespace: str) -> None:
    from kubernetes.client import ApiException

    created = core.create_namespaced_config_map(namespace, config_map("a", x="1"))
    assert created.metadata.resource_version
    patched = core.patch_namespaced_config_map("a", namespace, {"data": {"y": "2"}})
    assert patched.data == {"x": "1", "y": "2"}
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", namespace, created)
    assert caught.value.status == 409
    assert json.loads(caught.value.body)["reason"] == "Conflict"
    core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_config_map("a", namespace)
    assert caught.value.status == 404


def test_pages_are_complete_and_consistent(core: Any, namespace: str) -> None:
    for number in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"page-{number}"))
    first = core.list_namespaced_config_map(namespace, label_selector="of=python", limit=2)
    core.create_namespaced_config_map(namespace, config_map("page-9-late"))
    names, token = [item.metadata.name for item in first.items], first.metadata._continue
    while token:
        page = core.list_namespaced_config_map(namespace, label_selector="of=python", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert names == [f"page-{number}" for number in range(5)]


def test_watch_from_a_revision(core: Any, namespace: str) -> None:
    from kubernetes.watch import Watch

    before = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("seen"))
    core.delete_namespaced_config_map("seen", namespace)
    stream = Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=before,
        label_selector="of=python",
        timeout_seconds=2,
    )
    assert [(event["type"], event["object"].metadata.name) for event in stream] == [
        ("ADDED", "seen"),
        ("DELETED", "seen"),
    ]
