"""Leader election: one leader at a time, whatever fails; fast hand-over when a leader leaves in peace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.leader_election import LeaderElector, Observation, Timing, decide, released
from twinplane.kubeclient.resources import LEASES
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time

TIMING = Timing()
NAME = "kube-scheduler"


def held_by(holder: str, *, seconds: int = 15, transitions: int = 3) -> Object:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:10.000000Z",
        "leaseTransitions": transitions,
    }


def test_without_a_lease_one_is_created() -> None:
    decision = decide(None, "a", now=0, date=0, timing=TIMING)
    assert decision.action == "create"
    assert decision.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "1970-01-01T00:00:00.000000Z",
        "renewTime": "1970-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }


def test_the_leader_renews_and_keeps_when_it_began() -> None:
    decision = decide(Observation(held_by("a"), 0), "a", now=100, date=0, timing=TIMING)
    assert decision.action == "update"
    assert decision.spec["acquireTime"] == "2026-01-01T00:00:00.000000Z"
    assert decision.spec["renewTime"] == "1970-01-01T00:00:00.000000Z"
    assert decision.spec["leaseTransitions"] == 3


@given(st.floats(0, 40), st.integers(1, 30))
def test_others_wait_until_the_lease_has_not_changed_for_its_duration(age: float, seconds: int) -> None:
    decision = decide(Observation(held_by("b", seconds=seconds), 5), "a", now=5 + age, date=0, timing=TIMING)
    if 5 + age < 5 + seconds:
        assert decision.action == "wait"
    else:
        assert decision.action == "update"
        assert decision.spec["leaseTransitions"] == 4


def test_a_released_lease_is_free_at_once() -> None:
    spec = released(held_by("b"), 0)
    assert "holderIdentity" not in spec, "an empty one is refused by the API"
    assert spec["leaseDurationSeconds"] == 1
    assert decide(Observation(spec, 5), "a", now=5, date=0, timing=TIMING).action == "update"


def test_the_observation_only_moves_when_the_lease_changes() -> None:
    first = Observation.after(None, {"spec": held_by("b")}, 1)
    assert Observation.after(first, {"spec": held_by("b")}, 9) is first
    assert Observation.after(first, {"spec": held_by("c")}, 9).at == 9


class Link:
    """A replica's way to the API server; it can be cut, and then calls hang as over a dead network."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self.cut = False
        self.refusal: ApiError | None = None

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            if self.cut:
                await asyncio.sleep(1e6)
            if self.refusal is not None:
                raise self.refusal
            return await getattr(self._cluster, name)(*arguments, **named)

        return call


class Replica:
    """Counts its terms; `leaders` is shared by all replicas of a test."""

    def __init__(self, cluster: MemoryCluster, clock: VirtualClock, name: str, leaders: list[str]) -> None:
        self.link = Link(cluster)
        client: Any = self.link
        self.elector = LeaderElector(client, clock, Random(name), lease=NAME, identity=name)
        self.name = name
        self.terms = 0
        self._leaders = leaders
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _lead(self) -> None:
        assert not self._leaders, "two leaders"
        self._leaders.append(self.name)
        self.terms += 1
        try:
            await asyncio.sleep(1e9)
        finally:
            self._leaders.remove(self.name)


@asynccontextmanager
async def replicas(clock: VirtualClock, count: int) -> AsyncIterator[tuple[list[Replica], list[str], MemoryCluster]]:
    cluster = MemoryCluster(clock)
    leaders: list[str] = []
    made = [Replica(cluster, clock, f"replica-{number}", leaders) for number in range(count)]
    try:
        for replica in made:
            replica.start()
            await asyncio.sleep(0.5)
        yield made, leaders, cluster
    finally:
        for replica in made:
            await replica.stop()


@virtual_time
async def test_the_first_leads_and_stays(clock: VirtualClock) -> None:
    async with replicas(clock, 3) as (_, leaders, cluster):
        await asyncio.sleep(300)
        assert leaders == ["replica-0"]
        lease = await cluster.get(LEASES, NAME, "kube-system")
        assert lease["spec"]["leaseTransitions"] == 0


@virtual_time
async def test_one_that_leaves_hands_over_within_a_retry(clock: VirtualClock) -> None:
    async with replicas(clock, 2) as (made, leaders, cluster):
        await asyncio.sleep(20)
        await made[0].stop()
        assert not leaders
        await asyncio.sleep(TIMING.retry * 2.2)
        assert leaders == ["replica-1"]
        lease = await cluster.get(LEASES, NAME, "kube-system")
        assert lease["spec"]["leaseTransitions"] == 1


@virtual_time
async def test_one_that_is_cut_off_stops_before_another_begins(clock: VirtualClock) -> None:
    async with replicas(clock, 2) as (made, leaders, _):
        await asyncio.sleep(21)
        made[0].link.cut = True
        await asyncio.sleep(TIMING.renew + 2.1)
        assert not leaders, "it has stopped by itself"
        await asyncio.sleep(TIMING.lease)
        assert leaders == ["replica-1"]
        made[0].link.cut = False
        await asyncio.sleep(60)
        assert leaders == ["replica-1"]
        assert [replica.terms for replica in made] == [1, 1]


@virtual_time
async def test_a_short_failure_costs_nothing(clock: VirtualClock) -> None:
    async with replicas(clock, 2) as (made, leaders, _):
        await asyncio.sleep(21)
        made[0].link.refusal = ApiError("ServiceUnavailable", "etcd has no leader")
        await asyncio.sleep(TIMING.renew - 3)
        made[0].link.refusal = None
        await asyncio.sleep(60)
        assert leaders == ["replica-0"]
        assert made[0].terms == 1


@virtual_time
async def test_one_that_comes_back_as_leader_leads_again(clock: VirtualClock) -> None:
    async with replicas(clock, 1) as (made, leaders, _):
        await asyncio.sleep(5)
        made[0].link.refusal = ApiError("ServiceUnavailable", "gone for long")
        await asyncio.sleep(60)
        assert not leaders
        made[0].link.refusal = None
        await asyncio.sleep(10)
        assert leaders == ["replica-0"]


@virtual_time
async def test_a_stolen_lease_is_respected(clock: VirtualClock) -> None:
    async with replicas(clock, 1) as (_, leaders, cluster):
        await asyncio.sleep(5)
        lease = await cluster.get(LEASES, NAME, "kube-system")
        await cluster.update(LEASES, {**lease, "spec": held_by("someone")})
        await asyncio.sleep(3)
        assert not leaders


@virtual_time
async def test_a_deleted_lease_is_made_again(clock: VirtualClock) -> None:
    async with replicas(clock, 2) as (_, leaders, cluster):
        await asyncio.sleep(5)
        await cluster.delete(LEASES, NAME, "kube-system")
        await asyncio.sleep(20)
        assert len(leaders) == 1


@virtual_time
async def test_work_that_fails_gives_up_the_lease_and_is_told(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    elector = LeaderElector(cluster, clock, Random(0), lease=NAME, identity="a")

    async def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await elector.run(fail)
    lease = await cluster.get(LEASES, NAME, "kube-system")
    assert "holderIdentity" not in lease["spec"]


@virtual_time
async def test_never_two_leaders_while_links_break_at_random(clock: VirtualClock) -> None:
    """`Replica` asserts it at the start of every term; an elector that fails would end its task."""
    random = Random(7)
    async with replicas(clock, 3) as (made, leaders, _):
        led = 0
        for _ in range(400):
            for replica in made:
                if random.random() < 0.05:
                    replica.link.cut = not replica.link.cut
            await asyncio.sleep(random.uniform(0.5, 6))
            led += len(leaders)
        assert not any(replica.task.done() for replica in made if replica.task)
        assert sum(replica.terms for replica in made) > 5
        assert led > 50


def test_the_resource_is_the_lease_of_coordination() -> None:
    assert Resource("coordination.k8s.io", "v1", "leases", "Lease", True) == LEASES
