"""Who has to go, and where: upstream's order of choice."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

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
        "no new claims to deallocate, preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )


def test_never_means_never() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("low", cpu="1"), on="a")
    nominated, _, message = preempt(world, preemptionPolicy="Never")
    assert nominated is None
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
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


def test_fewest_violations_come_before_lowest_priority() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("a1", cpu="1", priority=90), on="a")
    world.run(pod("b1", cpu="1", priority=1, labels={"app": "db"}), on="b")
    world.snapshot.surroundings.set_budget("default/db", Budget("default", equalities({"app": "db"}), 0))
    assert preempt(world)[:2] == ("a", ["a1"])


def test_a_budget_that_changes_changes_the_choice() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("a1", cpu="1", priority=90), on="a")
    world.run(pod("b1", cpu="1", priority=1, labels={"app": "db"}), on="b")
    surroundings = world.snapshot.surroundings
    surroundings.set_budget("default/db", Budget("default", equalities({"app": "db"}), 0))
    planner = Planner(world.snapshot)
    first, second = world.parse(pod("first", cpu="1", priority=100), pod("second", cpu="1", priority=100))
    assert planner.place(first).nominated == "a"
    world.snapshot.remove_pod(first.uid)
    surroundings.set_budget("default/db", None)
    assert planner.place(second).nominated == "b"


def test_violating_victims_are_spared_first() -> None:
    """On one node: the pod under a budget is brought back before the more important one without."""
    world = World(node("a", cpu="2"))
    world.run(pod("guarded", cpu="1", priority=1, labels={"app": "db"}), on="a")
    world.run(pod("plain", cpu="1", priority=50), on="a")
    world.snapshot.surroundings.set_budget("default/db", Budget("default", equalities({"app": "db"}), 0))
    assert preempt(world)[:2] == ("a", ["plain"])


def test_violations_happen_when_nothing_else_helps() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("guarded", cpu="1", labels={"app": "db"}), on="a")
    world.snapshot.surroundings.set_budget("default/db", Budget("default", equalities({"app": "db"}), 0))
    assert preempt(world)[:2] == ("a", ["guarded"])


def test_the_smaller_sum_then_the_fewer_then_the_younger() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("a1", cpu="500m", priority=10), on="a")
    world.run(pod("a2", cpu="500m", priority=10), on="a")
    world.run(pod("b1", cpu="1", priority=10), on="b")
    assert preempt(world)[:2] == ("b", ["b1"])
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    for name, started in (("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-02T00:00:00Z")):
        world.run({**pod(f"on-{name}", cpu="1"), "status": {"startTime": started}}, on=name)
    assert preempt(world)[:2] == ("b", ["on-b"])


def test_each_preemptor_gets_a_node_of_its_own() -> None:
    world = World(*(node(f"n{number}", cpu="1") for number in range(3)))
    for number in range(3):
        world.run(pod(f"low{number}", cpu="1"), on=f"n{number}")
    planner = Planner(world.snapshot)
    made = world.parse(*(pod(f"high{number}", cpu="1", priority=100) for number in range(4)))
    nominated = [planner.place(item).nominated for item in made]
    assert sorted(filter(None, nominated)) == ["n0", "n1", "n2"]
    assert nominated[3] is None


def test_reasons_of_nodes_that_stay_too_small() -> None:
    world = World(node("a", cpu="2"))
    world.run(pod("low", cpu="1"), on="a")
    world.run(pod("vip", cpu="1", priority=1000), on="a")
    nominated, _, message = preempt(world, cpu="1500m")
    assert nominated is None
    assert message.endswith("preemption: 0/1 nodes are available: 1 Insufficient cpu.")


def test_the_promised_node_is_taken_even_if_another_is_better() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="64"))
    made = world.parse({**pod("p", cpu="1"), "status": {"nominatedNodeName": "a"}})[0]
    assert Planner(world.snapshot).place(made).node == "a"


def test_terminating_victims_are_waited_for() -> None:
    world = World(node("a", cpu="1"), node("b", cpu="1"))
    world.run(pod("going", cpu="1", deleting=True), on="a")
    world.run(pod("low", cpu="1"), on="b")
    made = world.parse({**pod("p", cpu="1", priority=9), "status": {"nominatedNodeName": "a"}})[0]
    decision = Planner(world.snapshot).place(made)
    assert decision.victims == ()
    assert decision.nominated == "a"
    assert decision.message.endswith("preemption: not eligible due to a terminating pod on the nominated node.")


def test_a_promise_is_dropped_when_preemption_no_longer_helps() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("vip", cpu="1", priority=1000), on="a")
    made = world.parse({**pod("p", cpu="1", priority=9), "status": {"nominatedNodeName": "a"}})[0]
    decision = Planner(world.snapshot).place(made)
    assert decision.nominated is None
    assert world.snapshot.home_of(made.uid) is None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["250m", "500m", "1"]), st.integers(0, 3)), max_size=12),
    st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_victims_are_lesser_enough_and_none_too_many(given_pods: list[tuple[int, str, int]], priority: int) -> None:
    world = World(*(node(f"n{number}", cpu="2") for number in range(3)))
    for number, (place, cpu, own) in enumerate(given_pods):
        state = world.snapshot.nodes[f"n{place}"]
        made = world.parse(pod(f"p{number}", cpu=cpu, priority=own))[0]
        if state.used.get("cpu", 0) + made.shape.requests.amounts["cpu"] <= 2000:
            world.run(pod(f"p{number}", cpu=cpu, priority=own), on=state.name)
    wanted = world.parse(pod("new", cpu="1500m", priority=priority))[0]
    decision = Planner(world.snapshot).place(wanted)
    if decision.nominated is None:
        return
    state = world.snapshot.nodes[decision.nominated]
    assert decision.victims
    assert all(victim.priority < priority for victim in decision.victims)
    world.snapshot.remove_pod(wanted.uid)
    needed = wanted.shape.requests.amounts["cpu"]
    without = state.used.get("cpu", 0) - sum(item.shape.requests.amounts["cpu"] for item in decision.victims)
    assert without + needed <= 2000
    for victim in decision.victims:
        assert without + needed + victim.shape.requests.amounts["cpu"] > 2000
