"""Which change helps which refusal: each plugin's hint, both ways."""

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
from tests.unit.scheduler.storage_builders import mounts
from twinplane.controlplane.scheduler.hints import Happening, Kind, helps, nominees_that_fit
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.shape import Pod, PodShape, Shapes
from twinplane.kubeclient.contract import Object

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
WEB = {"app": "web"}
SHARES_NETWORK = {"hostNetwork": True, "hostUsers": False}


def make(name: str = "p", **spec: Any) -> Pod:
    return Shapes().pod(pod(name, **spec))


def shape(**spec: Any) -> PodShape:
    return make("other", **spec).shape


def declaring(*features: str) -> Object:
    body = node("n")
    body["status"]["declaredFeatures"] = list(features)
    return body


@pytest.mark.parametrize(
    ("plugin", "change", "spec", "expected"),
    [
        ("NodeResourcesFit", node("n", cpu="1"), {"cpu": "2"}, False),
        ("NodeResourcesFit", node("n", cpu="4"), {"cpu": "2"}, True),
        ("TaintToleration", node("n", taints=[TAINT]), {}, False),
        ("TaintToleration", node("n"), {}, True),
        ("NodeAffinity", node("n"), {"nodeSelector": {"disk": "ssd"}}, False),
        ("NodeAffinity", node("n", labels={"disk": "ssd"}), {"nodeSelector": {"disk": "ssd"}}, True),
        ("NodeUnschedulable", node("n", unschedulable=True), {}, False),
        ("NodeUnschedulable", node("n"), {}, True),
        ("PodTopologySpread", node("n"), {}, True),
        ("NodeDeclaredFeatures", node("n"), SHARES_NETWORK, False),
        ("NodeDeclaredFeatures", declaring("UserNamespacesHostNetworkSupport"), SHARES_NETWORK, True),
    ],
)
def test_nodes(plugin: str, change: dict[str, Any], spec: dict[str, Any], expected: bool) -> None:
    happening = Happening(Kind.NODE_CHANGED, node=node_facts(change))
    assert helps(happening, [plugin], make(**spec)) is expected


@pytest.mark.parametrize(
    ("plugin", "kind", "other", "spec", "expected"),
    [
        ("NodePorts", Kind.POD_GONE, {"host_port": 80}, {"host_port": 80}, True),
        ("NodePorts", Kind.POD_GONE, {"host_port": 81}, {"host_port": 80}, False),
        ("InterPodAffinity", Kind.POD_PLACED, {"labels": WEB}, {"affinity": required_affinity(ZONE, WEB)}, True),
        ("InterPodAffinity", Kind.POD_PLACED, {}, {"affinity": required_affinity(ZONE, WEB)}, False),
        ("InterPodAffinity", Kind.POD_GONE, {"labels": WEB}, {"affinity": required_anti_affinity(HOSTNAME, WEB)}, True),
        ("InterPodAffinity", Kind.POD_GONE, {}, {"affinity": required_anti_affinity(HOSTNAME, WEB)}, False),
        ("InterPodAffinity", Kind.POD_GONE, {"affinity": required_anti_affinity(ZONE, WEB)}, {"labels": WEB}, True),
        (
            "PodTopologySpread",
            Kind.POD_PLACED,
            {"labels": WEB},
            {"topologySpreadConstraints": [spread(ZONE, WEB)]},
            True,
        ),
        ("PodTopologySpread", Kind.POD_GONE, {}, {"topologySpreadConstraints": [spread(ZONE, WEB)]}, False),
        ("VolumeRestrictions", Kind.POD_GONE, mounts("data"), mounts("data"), True),
        ("VolumeRestrictions", Kind.POD_GONE, mounts("other"), mounts("data"), False),
        ("NodeVolumeLimits", Kind.POD_GONE, {}, mounts("data"), False),
        ("TaintToleration", Kind.POD_GONE, {}, {}, False),
        ("NodeResourcesFit", Kind.POD_PLACED, {}, {}, False),
        ("NodeResourcesFit", Kind.POD_RELABELLED, {}, {}, False),
        (
            "InterPodAffinity",
            Kind.POD_RELABELLED,
            {"labels": WEB},
            {"affinity": required_anti_affinity(ZONE, WEB)},
            True,
        ),
        (
            "PodTopologySpread",
            Kind.POD_RELABELLED,
            {"labels": WEB},
            {"topologySpreadConstraints": [spread(ZONE, WEB)]},
            True,
        ),
        ("VolumeBinding", Kind.CAPACITY_CHANGED, {}, mounts("data"), True),
        ("NodeVolumeLimits", Kind.DETACHED, {}, mounts("data"), True),
        ("VolumeBinding", Kind.DETACHED, {}, mounts("data"), False),
    ],
)
def test_pods(plugin: str, kind: Kind, other: dict[str, Any], spec: dict[str, Any], expected: bool) -> None:
    assert helps(Happening(kind, shape=shape(**other)), [plugin], make(**spec)) is expected


@pytest.mark.parametrize(("claim", "expected"), [("default/data", True), ("default/other", False), ("", True)])
def test_claims(claim: str, expected: bool) -> None:
    assert helps(Happening(Kind.CLAIM_CHANGED, claim=claim), ["VolumeBinding"], make(**mounts("data"))) is expected


def test_room_is_made_when_the_pod_fits_or_could_preempt() -> None:
    world = World(node("a", cpu="2"))
    world.run(pod("low", cpu="1"), on="a")
    world.run(pod("high", cpu="500m", priority=100), on="a")
    left = world.snapshot.nodes["a"]
    happening = Happening(Kind.POD_GONE, shape=shape(), left=left)
    fit = ["NodeResourcesFit"]
    assert helps(happening, fit, make(cpu="500m"))
    assert not helps(happening, fit, make(cpu="1"))
    assert helps(happening, fit, make(cpu="1", priority=10))
    assert not helps(happening, fit, make(cpu="1", priority=10, preemptionPolicy="Never"))
    assert not helps(happening, fit, make(cpu="1900m", priority=10))


def test_the_promised_pod_is_helped_once_all_its_victims_are_gone() -> None:
    world = World(node("a", cpu="1"))
    world.run(pod("one", cpu="500m"), on="a")
    world.run(pod("two", cpu="500m"), on="a")
    world.snapshot.add_pod(make("high", cpu="1", priority=10), "a")
    state = world.snapshot.nodes["a"]
    world.snapshot.remove_pod("uid-one")
    assert nominees_that_fit(state) == []
    world.snapshot.remove_pod("uid-two")
    assert nominees_that_fit(state) == ["uid-high"]


def test_without_nodes_any_node_helps() -> None:
    assert helps(Happening(Kind.NODE_CHANGED), (), make())
    assert not helps(Happening(Kind.POD_GONE), (), make())
