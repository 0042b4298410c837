"""Garbage collection: what is garbage, and that nothing else is touched."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from cri_api.v1 import api_pb2 as cri

from tests.unit.kubelet_server.world import MemoryRuntime, Pods, Volumes, pod
from twinplane.dataplane.kubelet.garbage import collection
from twinplane.dataplane.kubelet.garbage.collection import GarbageCollection
from twinplane.dataplane.kubelet.garbage.plans import bytes_to_free, dead_containers, used_images
from twinplane.dataplane.kubelet.logs import links
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.server.kubelet_configuration import DEFAULTS
from twinplane.dataplane.kubelet.stats.filesystems import FileSystem
from twinplane.testing.virtual_time import VirtualClock, virtual_time


class Node:
    def __init__(self, clock: VirtualClock) -> None:
        self.runtime, self.volumes, self.pods = MemoryRuntime(), Volumes(), Pods(pod())
        self.files = FileSystem(1000, 500)
        self.is_ready = True
        self.events: list[str] = []
        self.metrics = KubeletMetrics()
        self.garbage = GarbageCollection(
            self.pods,
            self.runtime.as_contract(),
            self.volumes.as_contract(),
            clock=clock,
            metrics=self.metrics,
            kubelet=DEFAULTS,
            files=lambda: self.files,
            ready=lambda: self.is_ready,
            report=lambda _, reason, message: self.events.append(f"{reason}: {message}"),
            pause_image="pause",
        )

    def sandbox(self, id: str, uid: str, *, ready: bool = False, created: int = 1) -> None:
        state = cri.SANDBOX_READY if ready else cri.SANDBOX_NOTREADY
        metadata = cri.PodSandboxMetadata(uid=uid)
        self.runtime.sandboxes[id] = cri.PodSandbox(id=id, metadata=metadata, state=state, created_at=created)


@pytest.fixture(autouse=True)
def _directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "CONTAINER_LOGS", tmp_path / "containers")
    monkeypatch.setattr(collection, "POD_LOGS", tmp_path / "pods")
    monkeypatch.setattr(collection.remove_logs, "__defaults__", (tmp_path / "pods",))


@virtual_time
async def test_dead_containers_keep_one_for_a_look_back(clock: VirtualClock, tmp_path: Path) -> None:
    node = Node(clock)
    for number in range(3):
        node.runtime.add(f"old-{number}", running=False, created=number)
    node.runtime.logs["old-0"] = tmp_path / "0.log"
    node.runtime.logs["old-0"].touch()
    node.runtime.add("now", created=9)
    node.runtime.add("gone", uid="uid-gone", running=False)
    await node.garbage.collect_containers()
    assert set(node.runtime.containers) == {"old-2", "now"}
    assert "0.log" not in os.listdir(tmp_path)
    await node.garbage.collect_containers(all_dead=True)
    assert set(node.runtime.containers) == {"now"}


def test_unknown_pods_are_left_alone_before_all_are_known() -> None:
    runtime = MemoryRuntime()
    runtime.add("x", uid="uid-x", running=False)
    assert dead_containers(runtime.containers.values(), None) == []
    assert dead_containers(runtime.containers.values(), {"uid-y"}) == ["x"]


@virtual_time
async def test_sandboxes_logs_and_directories_of_pods_that_are_gone(clock: VirtualClock, tmp_path: Path) -> None:
    node = Node(clock)
    node.sandbox("web-old", "uid-web", created=1)
    node.sandbox("web-new", "uid-web", created=2)
    node.sandbox("gone", "uid-gone")
    node.sandbox("going", "uid-going", ready=True)
    node.volumes.left = ["uid-web", "uid-long-gone", "uid-going"]
    for name in ("default_web_uid-web", "default_gone_uid-gone", "stray"):
        (tmp_path / "pods" / name).mkdir(parents=True)
    node.is_ready = False
    await node.garbage.collect_containers()
    assert set(node.runtime.sandboxes) == {"web-new", "gone", "going"}
    assert len(node.volumes.left) == 3
    node.is_ready = True
    await node.garbage.collect_containers()
    assert set(node.runtime.sandboxes) == {"web-new", "going"}
    assert node.volumes.left == ["uid-web", "uid-going"]
    assert set(os.listdir(tmp_path / "pods")) == {"default_web_uid-web", "stray"}


@pytest.mark.parametrize(("available", "expected"), [(500, 0), (160, 0), (159, 41), (150, 50), (0, 200)])
def test_bytes_to_free(available: int, expected: int) -> None:
    assert bytes_to_free(1000, available, high_percent=85, low_percent=80) == expected
    assert bytes_to_free(0, 0, high_percent=85, low_percent=80) == 0


def test_used_images_by_any_of_their_names() -> None:
    image = cri.Image(id="sha256:1", repo_tags=["nginx:1"], repo_digests=["nginx@sha256:2"])
    container = cri.Container(image=cri.ImageSpec(image="nginx:1"), image_ref="nginx@sha256:2")
    assert used_images([image], [container]) == {"sha256:1"}


@virtual_time
async def test_images_go_oldest_first_and_never_those_in_use(clock: VirtualClock) -> None:
    node = Node(clock)
    for name, size in (("used", 500), ("once", 40), ("never", 30), ("pause", 5)):
        node.runtime.images[name] = cri.Image(id=name, size=size)
    node.runtime.images["pinned"] = cri.Image(id="pinned", size=500, pinned=True)
    node.runtime.add("a", image="used")
    node.runtime.add("b", image="once")
    node.files = FileSystem(1000, 160)
    await node.garbage.collect_images()
    del node.runtime.containers["b"]
    await asyncio.sleep(300)
    node.files = FileSystem(1000, 150)
    await node.garbage.collect_images()
    assert set(node.runtime.images) == {"used", "pause", "pinned"}
    assert node.metrics.images_collected.value("space") == 2
    assert node.events == []
    await node.garbage.collect_images()
    (event,) = node.events
    assert event == (
        "FreeDiskSpaceFailed: Failed to garbage collect required amount of images. Attempted to free 50 bytes, "
        "but only found 0 bytes eligible to free."
    )


@virtual_time
async def test_young_images_stay_until_space_is_wanted_at_once(clock: VirtualClock) -> None:
    node = Node(clock)
    node.runtime.images["new"] = cri.Image(id="new", size=500)
    node.files = FileSystem(1000, 0)
    await node.garbage.collect_images()
    assert set(node.runtime.images) == {"new"}
    await node.garbage.delete_unused_images()
    assert node.runtime.images == {}


@virtual_time
async def test_the_loop_links_logs(clock: VirtualClock, tmp_path: Path) -> None:
    node = Node(clock)
    node.runtime.add("now")
    node.runtime.logs["now"] = tmp_path / "0.log"
    node.runtime.logs["now"].touch()
    task = asyncio.create_task(node.garbage.run())
    await asyncio.sleep(400)
    task.cancel()
    assert os.listdir(tmp_path / "containers") == ["web_default_main-now.log"]
