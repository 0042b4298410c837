"""Pods ranked together although their labels or claims differ: the choice is the one that each would get alone."""

from __future__ import annotations

from typing import Any
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scheduler.builders import HOSTNAME, ZONE, World, node, pod, required_anti_affinity, spread
from tests.unit.scheduler.storage_builders import claim, know, mounts, storage_class, volume
from twinplane.controlplane.scheduler.classes import Classes
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.ranking import Ranking
from twinplane.controlplane.scheduler.requirements import equalities
from twinplane.controlplane.scheduler.shape import Shapes
from twinplane.controlplane.scheduler.standing import Standings

INDEX = "batch.kubernetes.io/job-completion-index"
WEB = {"app": "web"}
SPECS: list[dict[str, Any]] = [
    {},
    {"affinity": required_anti_affinity(HOSTNAME, WEB)},
    {"affinity": required_anti_affinity(HOSTNAME, {INDEX: "1"})},
    {"topologySpreadConstraints": [spread(ZONE, WEB)]},
    {"topologySpreadConstraints": [spread(ZONE, {INDEX: "0"})]},
]


def world() -> World:
    made = World(*(node(f"n{number}", zone=f"z{number % 3}", cpu="2") for number in range(6)))
    claims = [claim(f"c{number}", volume=f"v{number}") for number in range(3)]
    volumes = [volume(f"v{number}", claim=f"c{number}", zone=f"z{number}") for number in range(3)]
    late = (claim("late"), claim("nowhere", volume="gone"))
    know(made, claims=(*claims, *late), volumes=tuple(volumes), classes=(storage_class(zones=("z1",)),))
    return made


pods = st.lists(
    st.tuples(
        st.sampled_from(SPECS), st.sampled_from("0123"), st.sampled_from(["", "c0", "c1", "c2", "late", "nowhere"])
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(pods, st.booleans())
def test_the_choice_is_that_of_a_ranking_for_the_pod_alone(
    wanted: list[tuple[dict[str, Any], str, str]], indexed: bool
) -> None:
    made = world()
    if indexed:
        made.snapshot.surroundings.set_service("default", "one", equalities({INDEX: "2"}))
    planner = Planner(made.snapshot)
    for number, (spec, index, claimed) in enumerate(wanted):
        body = pod(f"p{number}", cpu="500m", labels={**WEB, INDEX: index}, **spec, **mounts(*filter(None, [claimed])))
        placed = made.parse(body)[0]
        alone = Ranking(placed.shape, made.snapshot, DEFAULT_PLUGINS).pick()
        assert planner.place(placed).node == (alone.name if alone is not None else None)


def test_labels_that_no_selector_names_make_no_class() -> None:
    made = world()
    classes = Classes(made.snapshot)
    first, second = (pod.shape for pod in made.parse(*(pod(f"p{n}", labels={INDEX: str(n)}) for n in range(2))))
    assert first is not second
    assert classes.class_of(first) is classes.class_of(second)
    made.snapshot.surroundings.set_service("default", "s", equalities({INDEX: "1"}))
    assert classes.class_of(first) is not classes.class_of(second)


def test_claims_make_no_class() -> None:
    made = world()
    classes = Classes(made.snapshot)
    first, second = (pod.shape for pod in made.parse(pod("a", **mounts("c0")), pod("b", **mounts("c1"))))
    assert classes.class_of(first) is classes.class_of(second)
    assert not classes.class_of(first).claims


def test_what_nodes_say_is_worked_out_once_for_all_that_ask_for_the_same() -> None:
    made = World(node("a"), node("b"))
    standings = Standings(made.snapshot, DEFAULT_PLUGINS)
    one, same, other = made.parse(
        pod("one", cpu="1", labels={"app": "one"}, owner="r1"),
        pod("same", cpu="1", labels={"app": "same"}, owner="r2", namespace="elsewhere"),
        pod("other", cpu="2", labels={"app": "one"}, owner="r1"),
    )
    kept = standings.of(one.shape)
    assert standings.of(same.shape) is kept
    assert standings.of(other.shape) is not kept


def test_a_confirmed_binding_changes_nothing() -> None:
    """The API server has given the pod its node's zone, which was foreseen when it was placed."""
    made = World(node("a", zone="z1"), node("b", zone="z2"))
    for number in range(4):
        body = pod(f"p{number}", labels={**WEB, INDEX: str(number % 2)})
        name = Planner(made.snapshot).place(made.parse(body)[0]).node
        assert name is not None
        labels = {**body["metadata"]["labels"], ZONE: made.snapshot.nodes[name].facts.labels[ZONE]}
        journal = made.snapshot.journal_end
        confirmed = {**body, "metadata": {**body["metadata"], "labels": labels}}
        made.run(confirmed, on=name)
        assert made.snapshot.journal_end == journal
        assert made.snapshot.nodes[name].pods[f"uid-p{number}"].shape.labels == labels


def test_selectors_see_the_zone_of_a_pod_at_once() -> None:
    made = World(node("a", zone="z1"), node("b", zone="z2"))
    planner = Planner(made.snapshot)
    first, second, third = made.parse(
        *(pod(f"p{number}", affinity=required_anti_affinity(HOSTNAME, {ZONE: "z1"})) for number in range(3))
    )
    assert {planner.place(first).node, planner.place(second).node} == {"a", "b"}
    # The one on b is of another zone than the terms name.
    assert planner.place(third).node == "b"


def test_shapes_go_when_nothing_refers_to_them() -> None:
    shapes = Shapes()
    body = pod("p", labels=WEB)
    there = shapes.shape(body)
    zones = [shapes.bound(there, {ZONE: zone}) for zone in ("z1", "z2")]
    assert zones[0] is shapes.bound(there, {ZONE: "z1", HOSTNAME: "other"})
    assert shapes.bound(there, {}) is there
    assert shapes.bound(zones[0], {ZONE: "z2"}) is zones[1]
    gone = [ref(shape) for shape in (there, *zones)]
    del there, zones
    assert [reference() for reference in gone] == [None] * 3
