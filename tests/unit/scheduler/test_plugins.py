"""Each plugin's verdicts and preferences, through the core, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

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
from twinplane.controlplane.scheduler.planner import Decision, plan
from twinplane.controlplane.scheduler.requirements import equalities
from twinplane.kubeclient.contract import Object

TAINT = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
HOPELESS = (
    " no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
NO_VICTIMS = (
    " no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


def decide(world: World, *bodies: Object) -> list[Decision]:
    return plan(world.snapshot, world.parse(*bodies))


def nodes_of(decisions: list[Decision]) -> list[str | None]:
    return [decision.node for decision in decisions]


@pytest.mark.parametrize(
    ("there", "wanted", "message"),
    [
        (node("a", unschedulable=True), pod("p"), "1 node(s) were unschedulable." + HOPELESS),
        (node("a", taints=[TAINT]), pod("p"), "1 node(s) had untolerated taint(s)." + HOPELESS),
        (
            node("a"),
            pod("p", nodeSelector={"disk": "ssd"}),
            "1 node(s) didn't match Pod's node affinity/selector." + HOPELESS,
        ),
        (node("a", cpu="1"), pod("p", cpu="2"), "1 Insufficient cpu." + HOPELESS),
        (node("a", pods=0), pod("p"), "1 Too many pods." + NO_VICTIMS),
        (
            node("a", cpu="1", memory="1Gi"),
            pod("p", cpu="2", memory="2Gi"),
            "1 Insufficient cpu, 1 Insufficient memory." + HOPELESS,
        ),
        (
            node("a"),
            pod("p", affinity=required_affinity(ZONE, {"app": "db"})),
            "1 node(s) didn't match pod affinity rules." + HOPELESS,
        ),
        (
            node("a"),
            pod("p", topologySpreadConstraints=[spread("rack", {"app": "web"})]),
            "1 node(s) didn't match pod topology spread constraints (missing required label)." + HOPELESS,
        ),
    ],
)
def test_refusals_are_worded_as_upstream(there: Object, wanted: Object, message: str) -> None:
    assert decide(World(there), wanted)[0].message == f"0/1 nodes are available: {message}"


def test_reasons_are_counted_and_sorted() -> None:
    world = World(node("a", cpu="1"), node("b", taints=[TAINT]), node("c", taints=[TAINT]))
    assert decide(world, pod("p", cpu="2"))[0].message == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "
        "no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "dedicated", "operator": "Equal", "value": "x", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "value": "y", "effect": "NoSchedule"}, False),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], fits: bool) -> None:
    world = World(node("a", taints=[TAINT]))
    assert (decide(world, pod("p", tolerations=[toleration]))[0].node == "a") is fits


def test_soft_taints_are_avoided() -> None:
    soft = {**TAINT, "effect": "PreferNoSchedule"}
    world = World(node("a", taints=[soft], cpu="64", memory="256Gi"), node("b"))
    assert nodes_of(decide(world, pod("p", cpu="1", memory="1Gi"))) == ["b"]


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["8", "16"], "big"),
        ("NotIn", ["16"], "small"),
        ("Exists", None, "big"),
        ("DoesNotExist", None, "small"),
        ("Gt", ["8"], "big"),
        ("Lt", ["8"], None),
    ],
)
def test_node_affinity_operators(operator: str, values: list[str] | None, expected: str | None) -> None:
    expression: dict[str, Any] = {"key": "cores", "operator": operator} | ({"values": values} if values else {})
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    world = World(node("big", labels={"cores": "16"}), node("small"))
    assert nodes_of(decide(world, pod("p", affinity=affinity))) == [expected]


def test_preferred_node_affinity_wins_over_emptiness() -> None:
    term = {"weight": 50, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    world = World(node("empty"), node("ssd", labels={"disk": "ssd"}))
    world.run(pod("old", cpu="2", memory="8Gi"), on="ssd")
    assert nodes_of(decide(world, pod("p", cpu="1", memory="1Gi", affinity=affinity))) == ["ssd"]


def test_daemon_pods_look_at_their_node_only() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["a"]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    world = World(node("a", cpu="1"), node("b"), node("c"))
    fits, fails = decide(world, pod("p", cpu="1", affinity=affinity), pod("q", cpu="1", affinity=affinity))
    assert fits.node == "a"
    assert fails.message.startswith(
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


def test_host_ports_are_taken_once_a_node() -> None:
    world = World(node("a"), node("b"))
    decisions = decide(world, *(pod(f"p{number}", host_port=8080) for number in range(3)))
    assert sorted(filter(None, nodes_of(decisions))) == ["a", "b"]
    assert "2 node(s) didn't have free ports for the requested pod ports" in decisions[2].message


def test_hard_spreading_keeps_the_skew() -> None:
    constraint = spread(ZONE, {"app": "web"})
    zones = [node(f"{zone}{number}", zone=zone) for zone in ("a", "b", "c") for number in range(2)]
    pods = [
        pod(f"p{number}", labels={"app": "web"}, cpu="1", topologySpreadConstraints=[constraint]) for number in range(9)
    ]
    placed = nodes_of(decide(World(*zones), *pods))
    assert [sum((name or "").startswith(zone) for name in placed) for zone in "abc"] == [3, 3, 3]


def test_hard_spreading_waits_for_the_domain_that_is_behind() -> None:
    world = World(node("a", zone="a"), node("b", zone="b", cpu="1"))
    constraint = spread(ZONE, {"app": "web"})
    pods = [
        pod(f"p{number}", labels={"app": "web"}, cpu="1", topologySpreadConstraints=[constraint]) for number in range(4)
    ]
    decisions = decide(world, *pods)
    assert sorted(filter(None, nodes_of(decisions))) == ["a", "a", "b"]
    assert decisions[3].message.startswith(
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints."
    )


def test_min_domains_counts_missing_domains_as_empty() -> None:
    world = World(node("a", zone="a"), node("b", zone="b"))
    constraint = spread(ZONE, {"app": "web"}, minDomains=3)
    pods = [pod(f"p{number}", labels={"app": "web"}, topologySpreadConstraints=[constraint]) for number in range(3)]
    assert sorted(filter(None, nodes_of(decide(world, *pods)))) == ["a", "b"]


def test_siblings_are_spread_by_default() -> None:
    world = World(*(node(f"{zone}{number}", zone=zone) for zone in ("a", "b", "c") for number in range(3)))
    world.snapshot.surroundings.set_workload("rs", equalities({"app": "web"}))
    # Another workload makes zone a look full, so without spreading it would be left out.
    for number in range(3):
        world.run(pod(f"other{number}", cpu="1"), on=f"a{number}")
    placed = nodes_of(decide(world, *(pod(f"p{i}", labels={"app": "web"}, owner="rs", cpu="100m") for i in range(9))))
    assert len(set(placed)) == 9


def test_anti_affinity_keeps_pods_apart() -> None:
    affinity = required_anti_affinity(HOSTNAME, {"app": "db"})
    world = World(node("a"), node("b"))
    pods = [pod(f"p{number}", labels={"app": "db"}, affinity=affinity) for number in range(3)]
    decisions = decide(world, *pods)
    assert sorted(filter(None, nodes_of(decisions))) == ["a", "b"]
    assert "2 node(s) didn't match pod anti-affinity rules" in decisions[2].message


def test_existing_anti_affinity_binds_newcomers() -> None:
    world = World(node("a"), node("b", cpu="100m"))
    world.run(pod("db", affinity=required_anti_affinity(HOSTNAME, {"app": "web"})), on="a")
    decision = decide(world, pod("p", labels={"app": "web"}, cpu="1"))[0]
    assert decision.node is None
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in decision.message


def test_affinity_follows_and_the_first_may_begin() -> None:
    affinity = required_affinity(ZONE, {"app": "web"})
    world = World(*(node(f"{zone}{number}", zone=zone) for zone in ("a", "b") for number in range(2)))
    placed = nodes_of(
        decide(world, *(pod(f"p{number}", labels={"app": "web"}, cpu="1", affinity=affinity) for number in range(4)))
    )
    assert len({(name or "?")[0] for name in placed}) == 1


def test_affinity_in_another_namespace_by_its_labels() -> None:
    affinity = required_affinity(ZONE, {"app": "db"})
    term = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    term["namespaceSelector"] = {"matchLabels": {"team": "data"}}
    world = World(node("a", zone="a"), node("b", zone="b"))
    world.snapshot.surroundings.set_namespace("data", {"team": "data"})
    world.run(pod("db", namespace="data", labels={"app": "db"}), on="b")
    assert nodes_of(decide(world, pod("p", affinity=affinity))) == ["b"]


def test_terminating_pods_do_not_count_for_spreading() -> None:
    constraint = spread(ZONE, {"app": "web"})
    world = World(node("a", zone="a"), node("b", zone="b", cpu="0"))
    world.run(pod("old", labels={"app": "web"}, deleting=True), on="a")
    assert nodes_of(
        decide(world, pod("p", cpu="1", labels={"app": "web"}, topologySpreadConstraints=[constraint]))
    ) == ["a"]


def test_the_emptier_node_is_taken() -> None:
    world = World(node("a"), node("b"))
    world.run(pod("old", cpu="1", memory="4Gi"), on="a")
    assert nodes_of(decide(world, pod("p", cpu="1", memory="1Gi"))) == ["b"]


def test_company_on_a_node_without_the_label_does_not_count() -> None:
    """The first pod that wants to be near itself may go where it likes, although its like runs in no domain at all."""
    world = World(node("bare", cpu="1"), node("racked", labels={"rack": "1"}))
    world.run(pod("there", cpu="1", labels={"app": "db"}), on="bare")
    wanted = pod("p", labels={"app": "db"}, affinity=required_affinity("rack", {"app": "db"}))
    assert nodes_of(decide(world, wanted)) == ["racked"]


RESTARTS_ALL = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}


def test_pods_go_where_the_kubelet_declares_what_they_need() -> None:
    body = pod("p")
    body["spec"]["containers"][0]["restartPolicyRules"] = [RESTARTS_ALL]
    old = node("old")
    refused = decide(World(old), body)[0]
    assert refused.message == ("0/1 nodes are available: 1 node(s) didn't match Pod's required features." + HOPELESS)
    new = node("new")
    new["status"]["declaredFeatures"] = ["RestartAllContainersOnContainerExits"]
    assert nodes_of(decide(World(old, new), body)) == ["new"]


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("1", "4Gi", 75),
        ("2", "", 62),
        ("", "8Gi", 62),
    ],
)
def test_an_empty_node_is_balanced_and_the_pod_can_only_spoil_it(cpu: str, memory: str, expected: int) -> None:
    assert score_of(World(node("a")), pod("p", cpu=cpu, memory=memory), BALANCED) == expected


def test_a_pod_that_evens_out_the_use_of_resources_scores_more() -> None:
    world = World(node("a"))
    world.run(pod("there", cpu="2"), on="a")
    assert score_of(world, pod("p", memory="8Gi"), BALANCED) == 87
    assert score_of(world, pod("p", cpu="1", memory="4Gi"), BALANCED) == 75
    assert score_of(world, pod("p", cpu="2"), BALANCED) == 62


BALANCED = "NodeResourcesBalancedAllocation"
MEBIBYTES = 1024 * 1024


def score_of(world: World, body: Object, plugin: str) -> int:
    return explain(world.snapshot, world.parse(body)[0])[0].scores[plugin]


def test_images_of_init_containers_and_volumes_count_each_time_they_are_named() -> None:
    there = node("a")
    there["status"]["images"] = [{"names": ["app:1"], "sizeBytes": 500 * MEBIBYTES}]
    body = pod("p")
    # (500 - 23) of (1000 - 23) MiB, and with each container as much more may count.
    assert score_of(World(there), body, "ImageLocality") == 48
    body["spec"]["initContainers"] = [{"name": "i", "image": "app:1"}]
    assert score_of(World(there), body, "ImageLocality") == 100 * 977 // 1977
    body["spec"]["volumes"] = [{"name": "v", "image": {"reference": "app:1"}}]
    assert score_of(World(there), body, "ImageLocality") == 100 * 1477 // 1977
