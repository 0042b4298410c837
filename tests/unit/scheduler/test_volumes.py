"""The volume plugins: upstream's verdicts and words, and which volume a claim gets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.scheduler.builders import World, node, pod
from tests.unit.scheduler.storage_builders import (
    attachment,
    capacity,
    claim,
    csi_node,
    know,
    mounts,
    storage_class,
    volume,
)
from twinplane.controlplane.scheduler.planner import Decision, Planner
from twinplane.controlplane.scheduler.storage import VolumePlan
from twinplane.kubeclient.contract import Object

HOPELESS = (
    " no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)


def place(world: World, name: str = "p", **spec: Any) -> Decision:
    return Planner(world.snapshot).place(world.parse(pod(name, **spec))[0])


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ((), 'persistentvolumeclaim "data" not found'),
        ((claim("data", storage_class="fast"),), "pod has unbound immediate PersistentVolumeClaims"),
        ((claim("data", storage_class="unknown"),), "pod has unbound immediate PersistentVolumeClaims"),
        (
            ({**claim("data", volume="v"), "status": {"phase": "Lost"}},),
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "v"',
        ),
    ],
)
def test_claims_that_no_node_can_help(claims: tuple[Object, ...], message: str) -> None:
    world = World(node("a"))
    know(world, claims=claims, classes=(storage_class(), storage_class("fast", waits=False)))
    decision = place(world, **mounts("data"))
    assert decision.message == f"0/1 nodes are available: {message}. not found"
    assert decision.plugins == {"VolumeBinding"}


def test_claims_being_deleted_are_not_used() -> None:
    world = World(node("a"))
    body = claim("data", volume="v")
    body["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    know(world, claims=(body,), volumes=(volume("v", claim="data"),))
    assert 'persistentvolumeclaim "data" is being deleted' in place(world, **mounts("data")).message


@pytest.mark.parametrize(
    ("volumes", "zone", "reason"),
    [
        ((volume("v", zone="b", claim="data"),), "a", "node(s) didn't match PersistentVolume's node affinity"),
        ((), "a", "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        (
            (volume("v", labels={"topology.kubernetes.io/zone": "b__c"}, claim="data"),),
            "a",
            "node(s) had no available volume zone",
        ),
        ((volume("v", labels={"topology.kubernetes.io/zone": "b__c"}, claim="data"),), "b", None),
        ((volume("v", labels={"failure-domain.beta.kubernetes.io/zone": "b"}, claim="data"),), "b", None),
    ],
)
def test_bound_claims(volumes: tuple[Object, ...], zone: str, reason: str | None) -> None:
    world = World(node("a", zone=zone))
    know(world, claims=(claim("data", volume="v"),), volumes=volumes)
    decision = place(world, **mounts("data"))
    if reason is None:
        assert decision.node == "a"
        assert decision.volumes is None
    else:
        assert decision.message == f"0/1 nodes are available: 1 {reason}.{HOPELESS}"


def test_the_smallest_volume_that_reaches_the_node_is_taken() -> None:
    world = World(node("a", zone="a"))
    volumes = (
        volume("large", size="9Gi", zone="a"),
        volume("small", size="2Gi", zone="a"),
        volume("tiny", size="1Mi", zone="a"),
        volume("elsewhere", size="1Gi", zone="b"),
        volume("other-class", size="1Gi", storage_class="io2"),
        volume("taken", size="1Gi", claim="somebody"),
    )
    know(world, claims=(claim("data"),), volumes=volumes, classes=(storage_class(),))
    assert place(world, **mounts("data")).volumes == VolumePlan("a", bindings=(("default/data", "small"),))


def test_volumes_are_promised_once_and_given_back() -> None:
    world = World(node("a"))
    none = storage_class(provisioner="kubernetes.io/no-provisioner")
    know(world, claims=(claim("one"), claim("two")), volumes=(volume("only"),), classes=(none,))
    planner = Planner(world.snapshot)
    first, second = world.parse(pod("first", **mounts("one")), pod("second", **mounts("two")))
    assert planner.place(first).node == "a"
    refused = planner.place(second)
    assert "1 node(s) didn't find available persistent volumes to bind" in refused.message
    world.snapshot.remove_pod(first.uid)
    assert planner.place(second).node == "a"


def test_two_claims_of_a_pod_get_two_volumes() -> None:
    world = World(node("a"))
    know(world, claims=(claim("one"), claim("two")), volumes=(volume("v1"), volume("v2")), classes=(storage_class(),))
    decision = place(world, **mounts("one", "two"))
    assert decision.volumes is not None
    assert {name for _, name in decision.volumes.bindings} == {"v1", "v2"}


def test_claims_are_provisioned_where_the_class_allows() -> None:
    world = World(node("a", zone="a"), node("b", zone="b"))
    know(world, claims=(claim("data"),), classes=(storage_class(zones=("b",)),))
    decision = place(world, **mounts("data"))
    assert decision.node == "b"
    assert decision.volumes == VolumePlan("b", provisions=("default/data",))


def test_a_shared_claim_keeps_pods_on_the_selected_node() -> None:
    world = World(node("a"), node("b"))
    know(world, claims=(claim("data"),), classes=(storage_class(),))
    planner = Planner(world.snapshot)
    first, second = world.parse(pod("first", cpu="1", **mounts("data")), pod("second", cpu="1", **mounts("data")))
    assert planner.place(first).node == planner.place(second).node


def test_ephemeral_claims_must_be_the_pods_own() -> None:
    world = World(node("a"))
    spec: dict[str, Any] = {"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]}
    waiting = place(world, **spec)
    expected = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert expected in waiting.message
    know(world, claims=(claim("p-scratch", owner="someone"),), classes=(storage_class(),))
    assert "pod is not owner" in place(world, **spec).message
    know(world, claims=(claim("p-scratch", owner="uid-p"),))
    assert place(world, **spec).node == "a"


def test_read_write_once_pod() -> None:
    world = World(node("a"), node("b"))
    know(world, claims=(claim("data", volume="v", modes=("ReadWriteOncePod",)),), volumes=(volume("v", claim="data"),))
    planner = Planner(world.snapshot)
    first, second = world.parse(pod("first", **mounts("data")), pod("second", **mounts("data")))
    assert planner.place(first).node is not None
    refused = planner.place(second)
    in_use = "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
    assert refused.message.startswith(f"0/2 nodes are available: 2 node(s) unavailable due to {in_use}.")
    world.snapshot.remove_pod(first.uid)
    assert planner.place(second).node is not None


def test_read_write_once_pod_may_be_preempted() -> None:
    world = World(node("a"))
    know(world, claims=(claim("data", volume="v", modes=("ReadWriteOncePod",)),), volumes=(volume("v", claim="data"),))
    world.run(pod("low", **mounts("data")), on="a")
    decision = place(world, "high", priority=10, **mounts("data"))
    assert decision.nominated == "a"
    assert [victim.name for victim in decision.victims] == ["low"]


@pytest.mark.parametrize(
    ("source", "own", "other", "fits"),
    [
        ("awsElasticBlockStore", {"volumeID": "v", "readOnly": True}, {"volumeID": "v", "readOnly": True}, False),
        ("awsElasticBlockStore", {"volumeID": "v"}, {"volumeID": "w"}, True),
        ("gcePersistentDisk", {"pdName": "d", "readOnly": True}, {"pdName": "d", "readOnly": True}, True),
        ("gcePersistentDisk", {"pdName": "d", "readOnly": True}, {"pdName": "d"}, False),
        ("rbd", {"monitors": ["m"], "image": "i"}, {"monitors": ["m", "n"], "image": "i"}, False),
        ("rbd", {"monitors": ["m"], "image": "i"}, {"monitors": ["n"], "image": "i"}, True),
    ],
)
def test_inline_disks(source: str, own: Object, other: Object, fits: bool) -> None:
    world = World(node("a"))
    world.run(pod("first", volumes=[{"name": "d", source: other}]), on="a")
    decision = place(world, volumes=[{"name": "d", source: own}])
    assert (decision.node == "a") is fits
    if not fits:
        assert "1 node(s) had no available disk" in decision.message


def test_attach_limits_count_each_volume_once() -> None:
    world = World(node("a"))
    claims = tuple(claim(f"c{number}", volume=f"v{number}") for number in range(3))
    volumes = tuple(volume(f"v{number}", claim=f"c{number}") for number in range(3))
    know(world, claims=claims, volumes=volumes, csi_nodes=(csi_node("a", 2),))
    planner = Planner(world.snapshot)
    bodies = [pod("p0", **mounts("c0")), pod("p1", **mounts("c0", "c1")), pod("p2", **mounts("c2"))]
    decisions = [planner.place(made) for made in world.parse(*bodies)]
    assert [decision.node for decision in decisions] == ["a", "a", None]
    assert decisions[2].message.startswith("0/1 nodes are available: 1 node(s) exceed max volume count.")


def test_attach_limits_include_volumes_to_be_made() -> None:
    world = World(node("a", labels={}), node("b"))
    know(world, claims=(claim("c0"), claim("c1")), classes=(storage_class(),), csi_nodes=(csi_node("a", 0),))
    assert place(world, **mounts("c0")).node == "b"


def test_attach_limits_include_what_is_still_attached() -> None:
    world = World(node("a"))
    volumes = (volume("old"), volume("v", claim="data"))
    attachments = (attachment("csi-old", "a", "old"), attachment("csi-elsewhere", "b", "v"))
    know(world, claims=(claim("data", volume="v"),), volumes=volumes, attachments=attachments)
    know(world, csi_nodes=(csi_node("a", 1),))
    assert "1 node(s) exceed max volume count" in place(world, **mounts("data")).message
    know(world, attachments=(attachment("csi-v", "a", "v"),), csi_nodes=(csi_node("a", 2),))
    assert place(world, **mounts("data")).node == "a"
    world.snapshot.surroundings.storage.set_attached("csi-v", None)
    know(world, csi_nodes=(csi_node("a", 1),))
    world.snapshot.surroundings.storage.set_attached("csi-old", None)
    assert place(world, **mounts("data")).node == "a"


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"capacity": "10Gi"}, True),
        ({"capacity": "9Gi"}, False),
        ({"capacity": "100Gi", "maximumVolumeSize": "9Gi"}, False),
        ({"capacity": "9Gi", "maximumVolumeSize": "10Gi"}, True),
        ({}, False),
        ({"capacity": "10Gi", "storage_class": "other"}, False),
        ({"capacity": "10Gi", "zone": "b"}, False),
        ({"capacity": "10Gi", "zone": ""}, False),
    ],
)
def test_claims_are_provisioned_where_there_is_storage_left(fields: dict[str, str], fits: bool) -> None:
    world = World(node("a", zone="a"))
    know(world, claims=(claim("data", size="10Gi"),), classes=(storage_class(),))
    know(world, capacities=(capacity("c", **{"zone": "a", **fields}),))
    decision = place(world, **mounts("data"))
    assert (decision.node == "a") is fits
    if not fits:
        reason = "1 node(s) did not have enough free storage"
        assert decision.message == f"0/1 nodes are available: {reason}.{HOPELESS}"


def test_only_drivers_that_track_capacity_need_it() -> None:
    world = World(node("a"))
    know(world, claims=(claim("data", size="10Gi"),), classes=(storage_class(),), capacities=(capacity("c"),))
    world.snapshot.surroundings.storage.set_tracking("ebs.csi.aws.com", tracks=False)
    assert place(world, **mounts("data")).node == "a"
