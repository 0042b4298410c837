"""What is kept of objects, how much is said about them, and how the informer applies it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.simulation.world import World, pod
from twinplane.dataplane.node_records import lease_spec
from twinplane.dataplane.simulation.event_limit import BURST, EVENTS_PER_SECOND, LimitedRecorder
from twinplane.dataplane.simulation.node_record import slim_node
from twinplane.dataplane.simulation.pod_record import Records
from twinplane.kubeclient.contract import Object
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def replica(name: str, **status: Any) -> Object:
    body = pod(name, annotations={"simulation.twinplane.io/usage": "busy", "other": "x"})
    body["metadata"] |= {"uid": name, "resourceVersion": "7", "labels": {"app": "web"}, "managedFields": [{}]}
    body["spec"]["volumes"] = [{"name": f"kube-api-access-{name}"}]
    body["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 80}, "initialDelaySeconds": 3}
    body["status"] = {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{"name": "main"}], **status}
    return body


def test_replicas_share_what_they_have_in_common() -> None:
    records = Records(lambda uid: True)
    one, other = records.slim(replica("a")), records.slim(replica("b"))
    assert one["spec"]["containers"] is other["spec"]["containers"]
    assert one["metadata"]["labels"] is other["metadata"]["labels"]
    assert one["metadata"]["annotations"] == {"simulation.twinplane.io/usage": "busy"}
    assert "volumes" not in one["spec"]
    assert "managedFields" not in one["metadata"]
    assert one["spec"]["containers"][0]["readinessProbe"] == {"initialDelaySeconds": 3}


def test_container_statuses_are_kept_until_the_pod_is_known() -> None:
    known = {"a"}
    records = Records(known.__contains__)
    assert "containerStatuses" not in records.slim(replica("a"))["status"]
    assert records.slim(replica("b"))["status"]["containerStatuses"] == [{"name": "main"}]


def test_slim_node() -> None:
    body = {
        "metadata": {"name": "n", "uid": "u", "labels": {"twinplane.io/fleet": "big", "zone": "a"}},
        "spec": {"providerID": "twinplane:///big/general-0"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "100.64.0.1"}],
            "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
            "images": [{"names": ["x"]}],
        },
    }
    slim = slim_node(body)
    assert slim["metadata"]["labels"] == {"twinplane.io/fleet": "big"}
    assert slim["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    assert "images" not in slim["status"]


def test_leases_grow_with_their_period() -> None:
    durations = [lease_spec("n", period, 0)["leaseDurationSeconds"] for period in (10.0, 20.0, 100.0)]
    assert durations == [40, 40, 200]


class Counting:
    def __init__(self) -> None:
        self.events = 0

    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        self.events += 1


@virtual_time
async def test_a_storm_of_events_is_sampled(clock: VirtualClock) -> None:
    counting = Counting()
    limited = LimitedRecorder(counting, clock)
    for _ in range(5000):
        limited.event({}, "Normal", "Started", "")
    assert counting.events == BURST
    await asyncio.sleep(2)
    for _ in range(5000):
        limited.event({}, "Normal", "Started", "")
    assert counting.events == BURST + 2 * EVENTS_PER_SECOND


@virtual_time
async def test_kubelet_lists_pods_with_their_statuses(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        await world.create(pod())
        await asyncio.sleep(1)
        (found,) = simulation.pods.all()
        described = simulation.pods.described(found)
        assert described["status"]["containerStatuses"][0]["ready"] is True
        assert described["spec"]["containers"][0]["image"] == "nginx"
