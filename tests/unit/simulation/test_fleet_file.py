"""The fleet file: what it says, and what is refused, in sentences that name the place."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.dataplane.simulation.document import InvalidFleet, duration
from twinplane.dataplane.simulation.fleet.failures import (
    NO_POD_FAULT,
    Failure,
    NodeFacts,
    PodFacts,
    PodFault,
    next_change,
    node_fault,
    pod_fault,
    read_stored,
    stored,
)
from twinplane.dataplane.simulation.fleet.life_cycles import stages_of
from twinplane.dataplane.simulation.fleet.member import AddressRange, member
from twinplane.dataplane.simulation.fleet.spec import read_fleet
from twinplane.dataplane.simulation.stages import Run

GROUP = {"name": "general", "count": 4, "instanceType": "m5.large", "zones": ["us-west-2a", "us-west-2b"]}


def fleet(name: str = "demo", cidr: str = "100.64.0.0/20", **spec: Any) -> dict[str, Any]:
    body = {"cidr": cidr, "groups": [GROUP], **spec}
    return {
        "apiVersion": "simulation.twinplane.io/v1alpha1",
        "kind": "Fleet",
        "metadata": {"name": name},
        "spec": body,
    }


def node(number: int = 0, group: str = "general") -> NodeFacts:
    return NodeFacts(f"demo-{group}-{number}", "demo", group, "us-west-2" + "ab"[number % 2])


def test_groups_take_turns_in_zones() -> None:
    group = GROUP | {"podsPerNode": 30, "labels": {"team": "a"}, "taints": [{"key": "x", "effect": "NoSchedule"}]}
    spec = read_fleet(fleet(groups=[group]))
    assert spec.nodes == 4
    addresses = AddressRange(spec.cidr)
    first, second = (member(spec, spec.groups[0], n, addresses.take() or "", addresses) for n in range(2))
    assert (first.availability_zone, second.availability_zone) == ("us-west-2a", "us-west-2b")
    assert (first.private_ip, second.private_ip) == ("100.64.0.1", "100.64.0.2")
    assert first.private_dns_name == "demo-general-0"
    assert first.settings.max_pods == 30
    assert first.settings.labels == {
        "team": "a",
        "twinplane.io/fleet": "demo",
        "twinplane.io/fleet-group": "general",
    }
    assert first.settings.taints == ({"key": "x", "effect": "NoSchedule"},)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "fleet.apiVersion: is required"),
        ([], "fleet: must be a mapping"),
        (fleet() | {"kind": "Flotte"}, "the file must be a Fleet of simulation.twinplane.io/v1alpha1"),
        (fleet(name="Big"), "metadata.name: 'Big' must be at most 40 lower-case"),
        (fleet(cidr="10.0.0.1/24"), "spec.cidr: 10.0.0.1/24 has host bits set"),
        (fleet(cidr="10.0.0.0/30"), "spec.cidr: 10.0.0.0/30 is too small for 4 addresses"),
        (fleet(colour="red"), "spec: unknown field colour"),
        (fleet(groups=[GROUP, GROUP]), "spec.groups: general is there twice"),
        (fleet(groups=[GROUP | {"count": -1}]), "spec.groups[0].count: must be a whole number"),
        (fleet(groups=[GROUP | {"count": 10**9}]), "nodes are more than"),
        (fleet(groups=[GROUP | {"annotations": {"a b": "x"}}]), "groups[0].annotations: 'a b' is no key such as team"),
        (fleet(groups=[GROUP | {"capacity": {"a b": 1}}]), "groups[0].capacity: 'a b' is no key such as team"),
        (fleet(groups=[GROUP | {"taints": [{"key": "x", "effect": "NoSchedule"}] * 2}]), "taints: one is there twice"),
        (fleet(groups=[GROUP | {"volumesPerNode": 1001}]), "spec.groups[0].volumesPerNode: at most 1000"),
        (fleet(groups=[GROUP | {"zones": []}]), "spec.groups[0].zones: at least one zone"),
        (fleet(groups=[GROUP | {"instanceType": "big"}]), "'big' is no instance type"),
        (fleet(groups=[GROUP | {"usage": "x"}]), "spec.groups[0].usage: there is no usage model 'x'"),
        (fleet(failures=[{"kind": "fire", "for": "1m"}]), "spec.failures[0].kind: must be one of nodeLoss"),
        (fleet(failures=[{"kind": "zoneLoss", "for": "1m"}]), "spec.failures[0].zone: is required for zoneLoss"),
        (fleet(failures=[{"kind": "nodeLoss", "for": "soon"}]), "'soon' is no duration"),
        (fleet(failures=[{"kind": "nodeLoss", "for": 0}]), "for: must be longer than nothing"),
        (fleet(failures=[{"kind": "nodeLoss", "for": "1m", "namespace": "x"}]), "is about nodes, not about pods"),
        (fleet(usage={"rules": [{"selector": {}, "model": "x"}]}), "there is no usage model 'x'"),
        (fleet(failures=[{"kind": "nodeLoss", "for": 9, "group": "x"}]), "failures[0].group: there is no group 'x'"),
        (fleet(failures=[{"kind": "zoneLoss", "for": 9, "zone": "x"}]), "failures[0].zone: no node is in 'x'"),
        (fleet(failures=[{"kind": "nodeLoss", "for": 9, "nodes": ["demo-general-4"]}]), "no node 'demo-general-4'"),
        (fleet(failures=[{"kind": "nodeCondition", "for": 9, "type": "!"}]), "failures[0].type: '!' is no type"),
        (fleet(failures=[{"kind": "nodeCondition", "for": 9, "status": "Bad"}]), "status: must be one of True, False"),
        (fleet(groups=[GROUP | {"capacity": {"x/y": "much"}}]), "groups[0].capacity.x/y: 'much' is no quantity"),
        (fleet(groups=[GROUP | {"capacity": {"pods": 5}}]), "how many pods there may be is podsPerNode"),
        (fleet(groups=[GROUP | {"labels": {"te am": "x"}}]), "groups[0].labels: 'te am' is no key such as"),
        (fleet(groups=[GROUP | {"labels": {"team": "a b"}}]), "groups[0].labels.team: 'a b' must be at most 63"),
        (fleet(groups=[GROUP | {"labels": {"Ex_ample/x": "a"}}]), "'Ex_ample/x' is no key such as"),
        (fleet(groups=[GROUP | {"zones": ["us west"]}]), "spec.groups[0].zones[0]: 'us west' must be"),
        (fleet(groups=[GROUP | {"taints": [{"key": "?", "effect": "NoSchedule"}]}]), "taints[0].key: '?' is no key"),
        (fleet(lifeCycles=[{"log": "x\n" * 501}]), "spec.lifeCycles[0].log: 501 lines are more than 500"),
        (fleet(lifeCycles=[{}]), "spec.lifeCycles[0]: names no stage that differs"),
        (fleet(lifeCycles=[{"pull": {"second": 1}}]), "spec.lifeCycles[0].pull.seconds: is required"),
        (fleet(lifeCycles=[{"pull": {"seconds": 1, "x": 1}}]), "spec.lifeCycles[0].pull: unknown field x"),
        (fleet(lifeCycles=[{"run": {"seconds": 1, "exitCode": 256}}]), "lifeCycles[0].run.exitCode: at most 255"),
        (fleet(lifeCycles=[{"restartBackoff": {"first": 9, "max": 1}}]), "restartBackoff: first must be more than 0"),
        (fleet(lifeCycles=[{"events": {"boom": {}}}]), "lifeCycles[0].events: unknown event boom"),
        (fleet(lifeCycles=[{"ready": {"seconds": 1}, "group": "x"}]), "lifeCycles[0].group: there is no group 'x'"),
        (
            fleet(lifeCycles=[{"events": {"started": {"type": "Normal", "reason": "x", "message": "{boom}"}}}]),
            "lifeCycles[0].events.started.message: only {image}, {container}",
        ),
    ],
)
def test_refusals(body: object, sentence: str) -> None:
    with pytest.raises(InvalidFleet) as refused:
        read_fleet(body)
    assert sentence in str(refused.value)


def test_durations() -> None:
    assert [duration(text, "") for text in ("90s", "1h30m", "250ms", 7)] == [90, 5400, 0.25, 7]


def test_addresses_go_round() -> None:
    network = read_fleet(fleet(cidr="100.64.0.0/28", groups=[GROUP])).cidr
    addresses = AddressRange(network)
    addresses.claim("100.64.0.2")
    taken = [addresses.take() for _ in range(13)]
    assert "100.64.0.2" not in taken
    assert len(set(taken)) == 13
    assert addresses.take() is None
    addresses.give_back("100.64.0.9")
    assert addresses.take() == "100.64.0.9"


def test_failures_have_an_end() -> None:
    failure = Failure("nodeLoss", 10, 20, zone="us-west-2a")
    assert [node_fault([failure], node(0), now).silent for now in (9, 10, 19.9, 20)] == [False, True, True, False]
    assert not node_fault([failure], node(1), 15).silent
    assert [next_change([failure], now) for now in (0, 10, 20)] == [10, 20, None]
    assert read_stored(stored(failure), "failures") == failure


def test_flapping_nodes_turn() -> None:
    failure = Failure("flapping", 0, 100, period=20)
    found = [node_fault([failure], node(), now).ready for now in (0, 9, 10, 19, 20, 100)]
    assert found == ["False", "False", "True", "True", "False", "True"]
    assert next_change([failure], 9) == 10
    assert next_change([failure], 10) == 20


def test_failures_of_pods() -> None:
    failures = [
        Failure("crashLoop", 0, 10, selector=(("app", "web"),)),
        Failure("slowStart", 0, 10, namespace="shop", factor=3),
    ]
    web = PodFacts("shop", "web-1", {"app": "web"})
    assert pod_fault(failures, web, node(), 5) == PodFault(crash=True, slow=3)
    assert pod_fault(failures, PodFacts("other", "db-1", {}), node(), 5) == NO_POD_FAULT
    assert pod_fault(failures, web, node(), 10) == NO_POD_FAULT


def test_a_share_is_always_the_same() -> None:
    failure = Failure("nodeLoss", 0, 10, share=0.3)
    hit = [number for number in range(1000) if node_fault([failure], node(number), 1).silent]
    assert 200 < len(hit) < 400
    assert hit == [number for number in range(1000) if node_fault([failure], node(number), 2).silent]


def test_built_in_models_may_be_named() -> None:
    spec = read_fleet(fleet(groups=[GROUP | {"usage": "idle"}], usage={"rules": [{"selector": {}, "model": "busy"}]}))
    assert spec.groups[0].usage == "idle"


def test_life_cycles_cover_pods_as_failures_do() -> None:
    cycles = [
        {"selector": {"app": "web"}, "namespace": "shop", "pull": {"seconds": "20s", "jitter": 5}},
        {"group": "general", "share": 0.5, "run": {"seconds": 60, "exitCode": 137, "reason": "OOMKilled"}},
    ]
    rules = read_fleet(fleet(lifeCycles=cycles)).life_cycles
    web = stages_of(rules, PodFacts("shop", "web-1", {"app": "web"}), node())
    assert web is not None
    assert (web.pull.seconds, web.pull.jitter, web.run) == (20, 5, None)
    others = [stages_of(rules, PodFacts("shop", f"db-{number}", {}), node()) for number in range(200)]
    assert 70 < sum(found is not None for found in others) < 130
    hit = next(found for found in others if found is not None)
    assert hit.run == Run(60, exit_code=137, reason="OOMKilled")
    assert stages_of(rules, PodFacts("shop", "db-1", {}), node(group="other")) is None
