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
from tests.unit.scheduler.storage_builders import claim, csi_node, know, mounts, storage_class, volume
from twinplane.controlplane.scheduler.explain import explain
from twinplane.controlplane.scheduler.planner import Decision, Planner, plan
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.plugins.node_volume_limits import attachments
from twinplane.controlplane.scheduler.ranking import Checks, Ranking
from twinplane.controlplane.scheduler.standing import Standings
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
    """The journal, the heaps, the groups and what classes share are optimisations: they may not change any answer."""
    world = World(*nodes)
    shared = Standings(world.snapshot, DEFAULT_PLUGINS)
    followed = [Ranking(made.shape, world.snapshot, DEFAULT_PLUGINS, shared) for made in world.parse(*bodies)]
    planner = Planner(world.snapshot)
    for number, made in enumerate(world.parse(*others)):
        planner.place(made)
        if number % 3 == 2:
            world.snapshot.remove_pod(made.uid)
        followed[number % len(followed)].pick()
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


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_ports_volumes_and_attachments_are_never_over_committed(data: st.DataObject) -> None:
    zones = ("a", "b")
    world = World(*(node(f"n{number}", zone=zones[number % 2]) for number in range(3)))
    classes = (
        storage_class("made", zones=data.draw(st.sampled_from([(), ("a",)]))),
        storage_class("local", provisioner="kubernetes.io/no-provisioner"),
        storage_class("now", waits=False),
    )
    kinds = st.sampled_from(["made", "local", "now", "bound", "alone"])
    claims, volumes, bodies = [], [], []
    for number in range(data.draw(st.integers(1, 8))):
        kind, zone = data.draw(kinds), data.draw(st.sampled_from(["", *zones]))
        name = f"c{number}"
        if kind in ("bound", "alone"):
            modes = ("ReadWriteOncePod",) if kind == "alone" else ("ReadWriteOnce",)
            claims.append(claim(name, volume=f"v-{name}", modes=modes))
            volumes.append(volume(f"v-{name}", zone=zone, claim=name))
        else:
            claims.append(claim(name, storage_class=kind, size=data.draw(st.sampled_from(["1Gi", "2Gi"]))))
            if data.draw(st.booleans()):
                volumes.append(volume(f"v-{name}", storage_class=kind, size="2Gi", zone=zone))
    limit = data.draw(st.integers(0, 3))
    know(
        world,
        claims=tuple(claims),
        volumes=tuple(volumes),
        classes=classes,
        csi_nodes=tuple(csi_node(name, limit) for name in world.snapshot.nodes),
    )
    names = [item["metadata"]["name"] for item in claims]
    for number in range(data.draw(st.integers(1, 8))):
        used = data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
        bodies.append(pod(f"p{number}", host_port=data.draw(st.sampled_from([0, 0, 80])), **mounts(*used)))
    planner = Planner(world.snapshot)
    decisions = [planner.place(made) for made in world.parse(*bodies)]
    _check_volumes(world, decisions, limit)


def _check_volumes(world: World, decisions: list[Decision], limit: int) -> None:
    storage = world.snapshot.surroundings.storage
    taken: dict[str, str] = {}
    homes: dict[str, set[str]] = {}
    for decision in decisions:
        if decision.node is None:
            assert decision.message
            continue
        for key in decision.pod.shape.claim_keys:
            homes.setdefault(key, set()).add(decision.node)
        for key, name in decision.volumes.bindings if decision.volumes else ():
            assert taken.setdefault(name, key) == key
            labels = world.snapshot.nodes[decision.node].facts.labels
            assert storage.volumes[name].reaches(labels, decision.node)
    for key in (key for decision in decisions if decision.volumes for key in decision.volumes.provisions):
        assert len(homes[key]) == 1
    for state in world.snapshot.nodes.values():
        assert sum(state.ports.values()) <= 1
        assert len(attachments(state.claims, state.disks, storage)) <= limit
    for key, found in storage.claims.items():
        if "ReadWriteOncePod" in found.modes:
            assert sum(state.claims.get(key, 0) for state in world.snapshot.nodes.values()) <= 1
