"""Lives of pods: a whole kubelet in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.kubelet.node import pod_object, test_node
from twinplane.kubeclient.resources import CONFIG_MAPS, NODES, PODS
from twinplane.testing.memory_runtime import Script
from twinplane.testing.virtual_time import VirtualClock, virtual_time

Patch = pytest.MonkeyPatch


@virtual_time
async def test_a_pod_starts_runs_and_goes(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object())
        await asyncio.sleep(2)
        status = node.status("web")
        assert status["phase"] == "Running"
        assert node.condition("web", "Ready") == "True"
        assert status["podIP"].startswith("10.0.")
        assert node.runtime.running() == ["main"]
        assert node.events("Started") == ["Container started"]
        node.runtime.container("main").script = Script(stop_seconds=3)
        await node.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(1)
        assert node.pod("web") is not None
        await asyncio.sleep(5)
        assert node.pod("web") is None
        assert not node.runtime.containers
        assert not node.runtime.sandboxes
        assert not node.volumes.mounted
        assert node.kubelet is not None
        assert node.kubelet.pods() == []
        assert not list((tmp_path / "kubelet" / "pods").glob("*"))


@virtual_time
async def test_the_node_registers(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await asyncio.sleep(1)
        found = node.cluster.objects(NODES)[0]
        conditions = {item["type"]: item["status"] for item in found["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        advertised = {"status": {"capacity": {"example.com/dongle": "4"}}}
        await node.cluster.patch(NODES, found["metadata"]["name"], advertised, subresource="status")
        await asyncio.sleep(11)
        found = node.cluster.objects(NODES)[0]
        assert found["status"]["allocatable"]["example.com/dongle"] == "4"
        assert found["status"]["capacity"]["example.com/dongle"] == "4"
        version = found["metadata"]["resourceVersion"]
        await asyncio.sleep(30)
        assert node.cluster.objects(NODES)[0]["metadata"]["resourceVersion"] == version


@virtual_time
async def test_a_changed_config_map_or_label_reaches_the_volumes_at_once(
    clock: VirtualClock, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        metadata = {"name": "settings", "namespace": "default"}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"color": "red"}}
        await node.cluster.create(CONFIG_MAPS, body, "default")
        await node.create(pod_object(volumes=[{"name": "settings", "configMap": {"name": "settings"}}]))
        await asyncio.sleep(5)
        node.volumes.log.clear()
        await asyncio.sleep(5)
        assert not node.volumes.log
        await node.cluster.update(CONFIG_MAPS, {**body, "data": {"color": "blue"}})
        await asyncio.sleep(1)
        assert [what for what, _ in node.volumes.log] == ["refresh"]
        await node.cluster.patch(PODS, "web", {"metadata": {"labels": {"tier": "back"}}}, namespace="default")
        await asyncio.sleep(1)
        assert [what for what, _ in node.volumes.log] == ["refresh", "refresh"]
