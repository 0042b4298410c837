"""Eviction: thresholds over time, the order in which pods go, what they are told, and the loop around it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kubelet_server.world import MIB, START, Pods, pod
from twinplane.dataplane.kubelet.durations import seconds_of
from twinplane.dataplane.kubelet.eviction.eviction import Eviction
from twinplane.dataplane.kubelet.eviction.local_storage import excess, pod_limit
from twinplane.dataplane.kubelet.eviction.ranking import Candidate, is_critical, message, ranked, request
from twinplane.dataplane.kubelet.eviction.thresholds import Amount, Observation, Threshold, Tracker, met, thresholds_of
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.server.kubelet_configuration import DEFAULTS
from twinplane.dataplane.kubelet.stats.cgroup_files import Usage
from twinplane.dataplane.kubelet.stats.filesystems import Disk, FileSystem, Found, PodDisk, Volume
from twinplane.dataplane.kubelet.stats.sampling import ContainerSample, Group, NodeSample, PodSample
from twinplane.kubeclient.contract import Object
from twinplane.testing.virtual_time import VirtualClock, virtual_time

GIB = 1024 * MIB


def sample(
    name: str = "web", *, memory: int = 0, threads: int = 1, layer: int = 0, log: int = 0, **volumes: int
) -> PodSample:
    group = Group("/x", Usage(working_set=memory, threads=threads), START, START)
    container = ContainerSample("main", f"{name}-main", "nginx", START, group, Disk(layer, 1), Disk(log, 1))
    disk = PodDisk(
        tuple(Volume(key, FileSystem(used=used), "", True) for key, used in volumes.items()), {"main": Disk(log, 1)}
    )
    return PodSample(name, "default", f"uid-{name}", START, group, (container,), disk=disk)


def test_defaults_are_those_of_eks() -> None:
    assert [(each.signal, each.amount) for each in thresholds_of(DEFAULTS)] == [
        ("memory.available", Amount(100 * MIB)),
        ("nodefs.available", Amount(percent=10)),
        ("nodefs.inodesFree", Amount(percent=5)),
    ]


@pytest.mark.parametrize(
    "kubelet",
    [
        {"evictionHard": {"cpu.available": "1"}},
        {"evictionHard": {"memory.available": "lots"}},
        {"evictionHard": {"nodefs.available": "110%"}},
        {"evictionSoft": {"memory.available": "1Gi"}},
        {"evictionSoft": {"memory.available": "1Gi"}, "evictionSoftGracePeriod": {"memory.available": "soon"}},
    ],
)
def test_bad_thresholds(kubelet: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        thresholds_of(kubelet)


def test_durations() -> None:
    assert [seconds_of(text) for text in ("5m0s", "1h30m", "0s", "", "1.5s", "200ms")] == [300, 5400, 0, 0, 1.5, 0.2]


HARD = Threshold("memory.available", Amount(100), minimum_reclaim=Amount(50))
SOFT = Threshold("nodefs.available", Amount(percent=20), grace=60, is_hard=False)


def seen(memory: int = 1000, disk: int = 1000, at: float = 0.0) -> dict[str, Observation]:
    return {"memory.available": Observation(memory, 1000, at), "nodefs.available": Observation(disk, 1000, at)}


def test_grace_reclaim_and_transition() -> None:
    tracker = Tracker([SOFT, HARD], 300)
    assert tracker.decide(seen(), 0).thresholds == ()
    decision = tracker.decide(seen(memory=99, disk=150), 10)
    assert decision.thresholds == (HARD,), "the soft one has its grace"
    assert decision.conditions == {"MemoryPressure", "DiskPressure"}
    assert tracker.decide(seen(memory=99, disk=150), 70).thresholds == (HARD, SOFT), "memory first"
    assert tracker.decide(seen(memory=120), 80).thresholds == (HARD,), "above, but not by its minimum reclaim"
    assert tracker.decide(seen(memory=150), 90).thresholds == ()
    assert tracker.conditions(379) == {"MemoryPressure"}
    assert tracker.conditions(381) == frozenset()
    assert tracker.decide(seen(disk=150), 400).thresholds == (), "the grace begins anew"


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_met_is_below(available: int, least: int) -> None:
    threshold = Threshold("memory.available", Amount(least))
    assert bool(met([threshold], {"memory.available": Observation(available, 1000)})) == (available < least)


def candidates(*pods: tuple[Object, PodSample | None]) -> list[Candidate]:
    return [Candidate(*each) for each in pods]


def order(resource: str, *pods: tuple[Object, PodSample | None]) -> list[str]:
    return [each.pod["metadata"]["name"] for each in ranked(candidates(*pods), resource)]


def test_memory_ranking() -> None:
    modest = pod("modest", requests={"memory": "1Gi"})
    greedy = pod("greedy", requests={"memory": "100Mi"})
    greedier = pod("greedier", requests={"memory": "100Mi"})
    important = pod("important", priority=1000)
    assert order(
        "memory",
        (modest, sample("modest", memory=900 * MIB)),
        (important, sample("important", memory=500 * MIB)),
        (greedy, sample("greedy", memory=200 * MIB)),
        (greedier, sample("greedier", memory=300 * MIB)),
        (pod("unknown"), None),
    ) == ["unknown", "greedier", "greedy", "important", "modest"]


def test_disk_and_process_ranking() -> None:
    a, b = pod("a"), pod("b")
    assert order("ephemeral-storage", (a, sample("a", layer=1)), (b, sample("b", scratch=MIB))) == ["b", "a"]
    assert order("pids", (a, sample("a", threads=3)), (b, sample("b", threads=30))) == ["b", "a"]
    assert order("pids", (a, sample("a", threads=3)), (pod("b", priority=1), sample("b", threads=30))) == ["a", "b"]
    assert order("inodes", (a, sample("a", layer=1)), (b, sample("b"))) == ["a", "b"]


def test_critical_pods_stay() -> None:
    assert is_critical(pod(priority=2_000_000_000))
    assert not is_critical(pod(priority=1_999_999_999))


def test_requests_of_a_pod() -> None:
    body = pod(requests={"memory": "1Gi"})
    body["spec"]["initContainers"] = [
        {"name": "i", "resources": {"requests": {"memory": "3Gi"}}},
        {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"memory": "1Gi"}}},
    ]
    assert request(body, "memory") == 3 * GIB
    body["spec"]["overhead"] = {"memory": "1Gi"}
    assert request(body, "memory") == 4 * GIB
    body["spec"]["resources"] = {"requests": {"memory": "5Gi"}}
    assert request(body, "memory") == 5 * GIB


def test_message() -> None:
    threshold = Threshold("memory.available", Amount(100 * MIB))
    found = Candidate(pod(requests={"memory": "64Mi"}), sample(memory=200 * MIB))
    assert message(found, threshold, Observation(50 * MIB, GIB)) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 200Mi, request is 64Mi, has larger consumption of memory. "
    )
    assert message(Candidate(pod(), sample(memory=1025)), threshold, Observation(MIB, GIB)).endswith(
        "Container main was using 1025, request is 0, has larger consumption of memory. "
    )


# -- local storage -----------------------------------------------------------------------------------------------------


def with_empty_dir(limit: str) -> Object:
    return pod(volumes=[{"name": "x", "emptyDir": {"sizeLimit": limit}}])


@pytest.mark.parametrize(
    ("body", "used", "expected"),
    [
        (with_empty_dir("10Mi"), sample(x=10 * MIB), None),
        (with_empty_dir("10Mi"), sample(x=11 * MIB), 'Usage of EmptyDir volume "x" exceeds the limit "10Mi". '),
        (
            pod(limits={"ephemeral-storage": "1Mi"}),
            sample(layer=MIB, scratch=1),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (pod(), sample(layer=GIB), None),
    ],
)
def test_excess(body: Object, used: PodSample, expected: str | None) -> None:
    found = excess(Candidate(body, used))
    assert (found.message if found is not None else None) == expected


def test_excess_of_one_container() -> None:
    body = pod(limits={"ephemeral-storage": "1Mi"})
    body["spec"]["containers"].append({"name": "other", "resources": {"limits": {"ephemeral-storage": "1Gi"}}})
    assert pod_limit(body) == GIB + MIB
    found = excess(Candidate(body, sample(layer=MIB, log=1)))
    assert found is not None
    assert found.message == 'Container main exceeded its local ephemeral storage limit "1Mi". '
    assert excess(Candidate(body, None)) is None


# -- the loop ----------------------------------------------------------------------------------------------------------


class Node:
    """A node of a gibibyte whose measurements the test sets."""

    memory_bytes = GIB

    def __init__(self, clock: VirtualClock, *pods: Object) -> None:
        self.clock = clock
        self.pods = Pods(*pods)
        self.used = 0
        self.files = Found(at=1.0, node=FileSystem(1000, 900, 100, 90, 100))
        self.samples = {name: sample(name) for name in (each["metadata"]["name"] for each in pods)}
        self.calls: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.pod_events: list[tuple[str, str]] = []
        self.metrics = KubeletMetrics()
        self.reclaimable = 0

    async def sample(self, *, brief: bool = False) -> NodeSample:
        group = Group("/", Usage(working_set=self.used), self.clock.now(), START)
        return NodeSample(self.clock.now(), group, (), tuple(self.samples.values()), (), self.files)

    def processes(self) -> tuple[int, int]:
        return 10, 32768

    async def collect_containers(self, *, all_dead: bool = False) -> None:
        self.calls.append(f"containers {all_dead}")

    async def delete_unused_images(self) -> None:
        self.calls.append("images")
        self.free(self.files.node.available + self.reclaimable)

    def free(self, available: int) -> None:
        self.files = replace(
            self.files, at=self.clock.now(), node=FileSystem(1000, available, 100, 90, 1000 - available)
        )

    def eviction(self) -> Eviction:
        return Eviction(
            self.pods,
            self,
            self,
            clock=self.clock,
            metrics=self.metrics,
            kubelet=DEFAULTS,
            report=lambda _, reason, text: self.events.append((reason, text)),
            report_pod=lambda pod, _, reason, text: self.pod_events.append((pod["metadata"]["name"], reason)),
        )


@virtual_time
async def test_memory_pressure_ends_one_pod_at_a_time(clock: VirtualClock) -> None:
    node = Node(clock, pod("a"), pod("b"))
    node.samples = {"a": sample("a", memory=MIB), "b": sample("b", memory=900 * MIB)}
    eviction = node.eviction()
    task = asyncio.create_task(eviction.run())
    await asyncio.sleep(1)
    assert node.pods.evicted == []
    node.used = GIB - 50 * MIB
    await asyncio.sleep(10)
    assert [name for name, _ in node.pods.evicted] == ["b"]
    assert eviction.conditions() == {"MemoryPressure"}
    node.used = 0
    await asyncio.sleep(290)
    assert eviction.conditions() == {"MemoryPressure"}
    await asyncio.sleep(30)
    assert eviction.conditions() == frozenset()
    assert len(node.pods.evicted) == 1
    assert node.pod_events == [("b", "Evicted")]
    assert node.events == [("EvictionThresholdMet", "Attempting to reclaim memory")]
    assert node.metrics.evictions.value("memory.available") == 1
    task.cancel()


@virtual_time
async def test_disk_pressure_is_met_with_garbage_first(clock: VirtualClock) -> None:
    node = Node(clock, pod("a"))
    node.free(50)
    node.reclaimable = 500
    eviction = node.eviction()
    assert await eviction.synchronize() == []
    assert node.calls == ["containers True", "images"]
    node.reclaimable = 0
    node.free(50)
    await asyncio.sleep(10)
    node.free(50)
    assert [each["metadata"]["name"] for each in await eviction.synchronize()] == ["a"]


@virtual_time
async def test_old_measurements_end_no_second_pod(clock: VirtualClock) -> None:
    node = Node(clock, pod("a"), pod("b"))
    node.free(50)

    async def nothing() -> None:
        return

    node.delete_unused_images = nothing  # type: ignore[method-assign]
    eviction = node.eviction()
    assert len(await eviction.synchronize()) == 1
    assert await eviction.synchronize() == []
    await asyncio.sleep(1)
    node.free(50)
    assert len(await eviction.synchronize()) == 1


@virtual_time
async def test_limits_and_critical_pods(clock: VirtualClock) -> None:
    node = Node(clock, with_empty_dir("1Mi"), pod("critical", priority=2_000_000_001))
    node.samples = {"web": sample("web", x=2 * MIB), "critical": sample("critical", memory=GIB)}
    eviction = node.eviction()
    await eviction.synchronize()
    assert node.pods.evicted == [("web", 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". ')]
    node.used = GIB
    await asyncio.sleep(10)
    assert await eviction.synchronize() == []
