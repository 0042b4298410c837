"""What must hold for every cluster and every load: never over-commit, be repeatable, tell the truth."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scheduler.builders import (
    HOSTNAME,
    ZONE,
    World,
    node,
    pod,
    required_affinity,
    required_anti_affinity,
    spread,
)
from twinplane.controlplane.scheduler.explain import explain
from twinplane.controlplane.scheduler.planner import Planner, plan
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.ranking import Checks, Ranking
from twinplane.kubeclient.contract import Object

WEB = {"app": "web"}
EXTRAS: list[dict[str, Any]] = [
    {},
    {},
    {"nodeSelector": {"disk": "ssd"}},
    {"tolerations": [{"operator": "Exists"}]},
    {"host_port": 80},
    {"priority": 10},
    {"affinity": required_anti_affinity(HOSTNAME, WEB)},
    {"affinity": required_affinity(ZONE, WEB)},
    {"topologySpreadConstraints": [spread(ZONE, WEB)]},
    {"topologySpreadConstraints": [spread(HOSTNAME, WEB), spread(ZONE, WEB, soft=True)]},
]


@st.composite
def clusters(draw: st.DrawFn) -> list[Object]:
    count = draw(st.integers(0, 6))
    return [
        node(
            f"n{number}",
            cpu=draw(st.sampled_from(["500m", "1", "2"])),
            memory=draw(st.sampled_from(["1Gi", "4Gi"])),
            pods=draw(st.integers(1, 4)),
            zone=draw(st.sampled_from("abc")),
            labels=draw(st.sampled_from([{}, {"disk": "ssd"}])),
            taints=draw(st.sampled_from([[], [], [{"key": "k", "value": "v", "effect": "NoSchedule"}]])),
        )
        for number in range(count)
    ]


@st.composite
def loads(draw: st.DrawFn) -> list[Object]:
    return [
        pod(
            f"p{number}",
            cpu=draw(st.sampled_from(["", "100m", "500m"])),
            memory=draw(st.sampled_from(["", "512Mi"])),
            labels=draw(st.sampled_from([{}, WEB])),
            **draw(st.sampled_from(EXTRAS)),
        )
        for number in range(draw(st.integers(1, 12)))
    ]


@given(clusters(), loads())
@settings(max_examples=60, deadline=None)
def test_nodes_are_never_over_committed(nodes: list[Object], bodies: list[Object]) -> None:
    world = World(*nodes)
    planner = Planner(world.snapshot)
    for made in world.parse(*bodies):
        planner.place(made)
    for state in world.snapshot.nodes.values():
        bound = [item for item in state.pods.values() if item.node]
        assert len(bound) <= state.facts.pods_allowed
        for name in ("cpu", "memory"):
            assert sum(item.shape.requests.amounts.get(name, 0) for item in bound) <= state.facts.allocatable[name]


@given(clusters(), loads())
@settings(max_examples=60, deadline=None)
def test_equal_input_gives_an_equal_plan(nodes: list[Object], bodies: list[Object]) -> None:
    plans = []
    for _ in range(2):
        world = World(*nodes)
        decisions = plan(world.snapshot, world.parse(*bodies))
        plans.append([(item.pod.name, item.node, item.message, item.nominated) for item in decisions])
    assert plans[0] == plans[1]


@given(clusters(), loads(), loads())
@settings(max_examples=50, deadline=None)
def test_a_ranking_that_followed_agrees_with_a_new_one(
    nodes: list[Object], bodies: list[Object], others: list[Object]
) -> None:
    """The journal, the heaps and the groups are an optimisation: they may not change any answer."""
    world = World(*nodes)
    followed = [Ranking(made.shape, world.snapshot, DEFAULT_PLUGINS) for made in world.parse(*bodies)]
    planner = Planner(world.snapshot)
    for number, made in enumerate(world.parse(*others)):
        planner.place(made)
        if number % 3 == 2:
            world.snapshot.remove_pod(made.uid)
    for ranking in followed:
        fresh = Ranking(ranking.shape, world.snapshot, DEFAULT_PLUGINS)
        assert _name(ranking.pick()) == _name(fresh.pick())
        assert ranking.refusals() == fresh.refusals()


def _name(state: Any) -> str | None:
    return state.name if state is not None else None


@given(clusters(), loads())
@settings(max_examples=40, deadline=None)
def test_the_choice_is_the_best_that_explain_finds(nodes: list[Object], bodies: list[Object]) -> None:
    world = World(*nodes)
    planner = Planner(world.snapshot)
    for made in world.parse(*bodies):
        verdicts = {verdict.node: verdict for verdict in explain(world.snapshot, made)}
        chosen = planner.place(made).node
        best = max((verdict.total for verdict in verdicts.values() if verdict.feasible), default=None)
        if chosen is None:
            assert best is None
        else:
            assert verdicts[chosen].feasible
            assert verdicts[chosen].total == best


@given(clusters(), loads())
@settings(max_examples=60, deadline=None)
def test_every_refusal_is_true(nodes: list[Object], bodies: list[Object]) -> None:
    world = World(*nodes)
    planner = Planner(world.snapshot)
    for made in world.parse(*bodies):
        ranking = Ranking(made.shape, world.snapshot, DEFAULT_PLUGINS)
        checks = Checks(made.shape, world.snapshot, DEFAULT_PLUGINS)
        refusals = ranking.refusals()
        for state in world.snapshot.nodes.values():
            assert refusals.get(state.name) == checks.refuse(state)
        planner.place(made)
