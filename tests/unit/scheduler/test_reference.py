"""The core against the plain reference: on random clusters both must refuse the same nodes for the same reasons."""

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
from tests.unit.scheduler.reference import Cluster
from tests.unit.scheduler.storage_builders import claim, know, mounts, volume
from twinplane.controlplane.scheduler.explain import explain
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.ranking import Ranking
from twinplane.kubeclient.contract import Object

WEB, DB = {"app": "web"}, {"app": "db"}
TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
RACK = "rack"
CLAIMS = (
    claim("shared", volume="v-shared"),
    claim("alone", volume="v-alone", modes=("ReadWriteOncePod",)),
)
VOLUMES = (volume("v-shared", claim="shared"), volume("v-alone", claim="alone"))
SPECS: list[dict[str, Any]] = [
    {},
    {"nodeSelector": {"disk": "ssd"}},
    {"tolerations": [{"key": "k", "operator": "Exists"}]},
    {"tolerations": [{"operator": "Exists"}]},
    {"host_port": 80},
    {"affinity": required_anti_affinity(HOSTNAME, WEB)},
    {"affinity": required_anti_affinity(ZONE, DB)},
    {"affinity": required_affinity(ZONE, WEB)},
    {"affinity": required_affinity(RACK, DB)},
    {"affinity": {**required_affinity(ZONE, WEB), **required_anti_affinity(HOSTNAME, WEB)}},
    {"topologySpreadConstraints": [spread(ZONE, WEB)]},
    {"topologySpreadConstraints": [spread(ZONE, WEB, minDomains=3)]},
    {"topologySpreadConstraints": [spread(HOSTNAME, WEB, skew=2), spread(RACK, WEB)]},
    {"topologySpreadConstraints": [spread(ZONE, WEB, nodeTaintsPolicy="Honor")]},
    {
        "topologySpreadConstraints": [spread(ZONE, DB, nodeAffinityPolicy="Ignore")],
        "nodeSelector": {"disk": "ssd"},
    },
    mounts("shared"),
    mounts("alone"),
]

nodes = st.lists(
    st.builds(
        lambda cpu, memory, pods, zone, labels, taints, cordoned: {
            "cpu": cpu,
            "memory": memory,
            "pods": pods,
            "zone": zone,
            "labels": labels,
            "taints": taints,
            **({"unschedulable": True} if cordoned else {}),
        },
        st.sampled_from(["500m", "1", "2"]),
        st.sampled_from(["1Gi", "4Gi"]),
        st.integers(1, 4),
        st.sampled_from("abc"),
        st.sampled_from([{}, {"disk": "ssd"}, {RACK: "1"}, {RACK: "2", "disk": "ssd"}]),
        st.sampled_from([[], [], [TAINT], [{**TAINT, "effect": "PreferNoSchedule"}]]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=6,
).map(lambda given: [node(f"n{number}", **item) for number, item in enumerate(given)])

pods = st.lists(
    st.tuples(
        st.sampled_from(["", "100m", "500m"]),
        st.sampled_from(["", "512Mi"]),
        st.sampled_from([{}, WEB, DB]),
        st.sampled_from(["default", "default", "other"]),
        st.sampled_from(SPECS),
    ),
    min_size=1,
    max_size=12,
).map(lambda given: [_pod(number, item) for number, item in enumerate(given)])


def _pod(number: int, item: tuple[str, str, dict[str, str], str, dict[str, Any]]) -> Object:
    cpu, memory, labels, namespace, spec = item
    namespace = "default" if "volumes" in spec else namespace
    return pod(f"p{number}", cpu=cpu, memory=memory, labels=labels, namespace=namespace, **spec)


@given(nodes, pods, st.data())
@settings(max_examples=100, deadline=None)
def test_core_and_reference_agree(given_nodes: list[Object], bodies: list[Object], data: st.DataObject) -> None:
    world = World(*given_nodes)
    know(world, claims=CLAIMS, volumes=VOLUMES)
    reference = Cluster(given_nodes, CLAIMS)
    planner = Planner(world.snapshot)
    for body in bodies:
        made = world.parse(body)[0]
        expected = {name: reference.refusing(body, name) for name in reference.nodes}
        verdicts = {verdict.node: verdict for verdict in explain(world.snapshot, made)}
        assert {name: set(verdict.refusals) for name, verdict in verdicts.items()} == expected
        refusals = Ranking(made.shape, world.snapshot, DEFAULT_PLUGINS).refusals()
        assert refusals.keys() == {name for name, refusing in expected.items() if refusing}
        assert all(refusal.plugin in expected[name] for name, refusal in refusals.items())
        decision = planner.place(made)
        if decision.node is None:
            assert all(expected.values())
            assert decision.plugins == {refusal.plugin for refusal in refusals.values()}
        else:
            assert not expected[decision.node]
            best = max(verdict.total for verdict in verdicts.values() if verdict.feasible)
            assert verdicts[decision.node].total == best
            reference.placed.append((body, decision.node))
        if reference.placed and data.draw(st.integers(0, 4)) == 0:
            gone, _ = reference.placed.pop(data.draw(st.integers(0, len(reference.placed) - 1)))
            world.snapshot.remove_pod(gone["metadata"]["uid"])
