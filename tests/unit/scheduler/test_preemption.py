"""Who has to go, and where: upstream's order of choice."""

from __future__ import annotations

from typing import Any

from tests.unit.scheduler.builders import World, node, pod
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.requirements import equalities
from twinplane.controlplane.scheduler.snapshot import Budget


def preempt(world: World, *, priority: int = 100, cpu: str = "1", **spec: Any) -> tuple[str | None, list[str], str]:
    made = world.parse(pod("high", cpu=cpu, priority=priority, **spec))[0]
    decision = Planner(world.snapshot).place(made)
    return decision.nominated, sorted(victim.name for victim in decision.victims), decision.message


def test_as_few_as_possible_go() -> None:
    world = World(node("a", cpu="2"))
    for number in range(4):
        world.run(pod(f"low{number}", cpu="500m", priority=number), on="a")
    nominated, victims, _ = preempt(world)
    assert nominated == "a"
    assert victims == ["low0", "low1"]


def test_the_least_important_victims_are_chosen() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("on-a", cpu="1", priority=50), on="a")
    world.run(pod("on-b", cpu="1", priority=10), on="b")
    assert preempt(world)[:2] == ("b", ["on-b"])


def test_budgets_are_spared() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("on-a", cpu="1", priority=50), on="a")
    world.run(pod("on-b", cpu="1", priority=10, labels={"app": "db"}), on="b")
    world.snapshot.surroundings.set_budget("default/db", Budget("default", equalities({"app": "db"}), 0))
    assert preempt(world)[:2] == ("a", ["on-a"])


def test_equals_are_left_alone() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("peer", cpu="1", priority=100), on="a")
    nominated, victims, message = preempt(world)
    assert nominated is None
    assert victims == []
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_never_means_never() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("low", cpu="1"), on="a")
    nominated, _, message = preempt(world, preemptionPolicy="Never")
    assert nominated is None
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_the_promised_room_is_kept() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("low", cpu="1"), on="a")
    planner = Planner(world.snapshot)
    high, other = world.parse(pod("high", cpu="1", priority=100), pod("other", cpu="1"))
    assert planner.place(high).nominated == "a"
    world.snapshot.remove_pod("uid-low")
    assert planner.place(other).node is None
    assert planner.place(high).node == "a"


def test_the_what_if_leaves_no_trace() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("low", cpu="500m"), on="a")
    before = dict(world.snapshot.nodes["a"].used)
    preempt(world, cpu="2")
    assert world.snapshot.nodes["a"].used == before
    assert list(world.snapshot.nodes["a"].pods) == ["uid-low"]
