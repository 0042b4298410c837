"""A runtime that is away for a while: the node stays ready as long as a restart takes, and no longer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kubelet.node import TestNode, pod_object, test_node
from twinplane.dataplane.runtime.contract import RuntimeAway
from twinplane.kubeclient.resources import NODES
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def ready(node: TestNode) -> tuple[str, str]:
    [found] = node.cluster.objects(NODES)
    condition = next(item for item in found["status"]["conditions"] if item["type"] == "Ready")
    return condition["status"], condition["message"]


@virtual_time
async def test_a_restart_of_the_runtime_is_no_trouble_of_the_node(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object())
        await asyncio.sleep(15)
        assert ready(node)[0] == "True"
        images = node.cluster.objects(NODES)[0]["status"]["images"]

        async def away(*_: Any, **__: Any) -> Any:
            raise RuntimeAway("connection refused", "UNAVAILABLE")

        with monkeypatch.context() as patch:
            for name in ("list_images", "status", "list_pod_sandboxes", "list_containers"):
                patch.setattr(node.runtime, name, away)
            await asyncio.sleep(15)
            assert ready(node)[0] == "True"
            assert node.condition("web", "Ready") == "True"
            await asyncio.sleep(30)
            assert ready(node) == ("False", "container runtime is down: connection refused")
            assert node.cluster.objects(NODES)[0]["status"]["images"] == images
        await asyncio.sleep(15)
        assert ready(node)[0] == "True"
        assert node.condition("web", "Ready") == "True"
        assert node.status("web")["containerStatuses"][0]["restartCount"] == 0
