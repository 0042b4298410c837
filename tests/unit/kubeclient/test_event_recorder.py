from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.event_recorder import QUEUE_MAX, WRITES_BURST, WRITES_PER_SECOND, EventBroadcaster
from twinplane.kubeclient.resources import EVENTS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def pod(name: str = "p") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"}}


@asynccontextmanager
async def broadcasting(clock: VirtualClock) -> AsyncIterator[tuple[MemoryCluster, EventBroadcaster]]:
    cluster = MemoryCluster(clock)
    broadcaster = EventBroadcaster(cluster, clock)
    task = asyncio.create_task(broadcaster.run())
    yield cluster, broadcaster
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_an_event_as_upstream_writes_it(clock: VirtualClock) -> None:
    async with broadcasting(clock) as (cluster, broadcaster):
        broadcaster.recorder("default-scheduler").event(pod(), "Normal", "Scheduled", "Successfully assigned")
        await asyncio.sleep(1)
        (event,) = cluster.objects(EVENTS)
        assert event["metadata"]["name"].startswith("p.")
        assert event["metadata"]["namespace"] == "shop"
        expected = {"kind": "Pod", "namespace": "shop", "name": "p", "uid": "uid-p", "apiVersion": "v1"}
        assert event["involvedObject"] == expected
        assert event["source"] == {"component": "default-scheduler"}
        assert event["reportingComponent"] == "default-scheduler"
        assert (event["type"], event["reason"], event["count"]) == ("Normal", "Scheduled", 1)
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2023-11-14T22:13:20Z"


@virtual_time
async def test_the_same_event_is_counted(clock: VirtualClock) -> None:
    async with broadcasting(clock) as (cluster, broadcaster):
        recorder = broadcaster.recorder("kubelet")
        for _ in range(3):
            recorder.event(pod(), "Warning", "BackOff", "Back-off restarting failed container")
            await asyncio.sleep(10)
        (event,) = cluster.objects(EVENTS)
        assert event["count"] == 3
        assert event["lastTimestamp"] == "2023-11-14T22:13:40Z"


@virtual_time
async def test_an_event_that_was_deleted_starts_anew(clock: VirtualClock) -> None:
    async with broadcasting(clock) as (cluster, broadcaster):
        recorder = broadcaster.recorder("kubelet")
        recorder.event(pod(), "Normal", "Pulled", "x")
        await asyncio.sleep(1)
        await cluster.delete_collection(EVENTS, "shop")
        recorder.event(pod(), "Normal", "Pulled", "x")
        await asyncio.sleep(1)
        assert [event["count"] for event in cluster.objects(EVENTS)] == [1]


@virtual_time
async def test_events_that_differ_only_in_words_are_combined(clock: VirtualClock) -> None:
    async with broadcasting(clock) as (cluster, broadcaster):
        recorder = broadcaster.recorder("kubelet")
        for number in range(15):
            recorder.event(pod(), "Warning", "Failed", f"attempt {number}")
        await asyncio.sleep(1)
        combined = [event for event in cluster.objects(EVENTS) if event["message"].startswith("(combined from")]
        assert len(combined) == 1
        assert combined[0]["count"] == 5
        assert combined[0]["message"] == "(combined from similar events): attempt 14"
        assert len(cluster.objects(EVENTS)) == 11


@virtual_time
async def test_one_object_cannot_flood(clock: VirtualClock) -> None:
    async with broadcasting(clock) as (cluster, broadcaster):
        recorder = broadcaster.recorder("kubelet")
        for number in range(200):
            recorder.event(pod(), "Normal", f"Reason{number}", "x")
        recorder.event(pod("other"), "Normal", "Started", "x")
        await asyncio.sleep(1)
        assert len(cluster.objects(EVENTS)) == 26
        await asyncio.sleep(600)
        for number in range(5):
            recorder.event(pod(), "Normal", f"Later{number}", "x")
        await asyncio.sleep(1)
        assert len(cluster.objects(EVENTS)) == 28


@virtual_time
async def test_a_full_queue_drops(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    broadcaster = EventBroadcaster(cluster, clock)
    for number in range(QUEUE_MAX + 10):
        broadcaster.recorder("kubelet").event(pod(str(number)), "Normal", "Started", "x")
    task = asyncio.create_task(broadcaster.run())
    await asyncio.sleep(0.01)
    assert len(cluster.objects(EVENTS)) in (WRITES_BURST, WRITES_BURST - 1)
    await asyncio.sleep((QUEUE_MAX - WRITES_BURST) / WRITES_PER_SECOND + 0.1)
    assert len(cluster.objects(EVENTS)) == QUEUE_MAX
    task.cancel()
