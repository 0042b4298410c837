"""From the volumes of a pod to claims and disks: messages, registration, limits. Mounting itself is in tests/nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twinplane.clock import SystemClock
from twinplane.dataplane.csi_node import volume_limit
from twinplane.dataplane.kubelet.contract import VolumeNotReady
from twinplane.dataplane.volumes.contract import Node
from twinplane.dataplane.volumes.ebs import disk_of
from twinplane.dataplane.volumes.registration import register
from twinplane.dataplane.volumes.volumes import Volumes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import (
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_ATTACHMENTS,
)
from twinplane.testing.memory_cluster import MemoryCluster


class References:
    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        kinds = {kind.plural: kind for kind in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS)}
        return self._cluster.object(kinds[resource], name, namespace)


def node(cluster: MemoryCluster, root: Path) -> Node:
    return Node(
        "n1", cluster, References(cluster), SystemClock(), "i-1", "us-west-2a", root=root, devices=root / "devices",
        attach_seconds=0.0,
    )  # fmt: skip


def pod(volume: Object) -> Object:
    containers = [{"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
    spec = {"containers": containers, "volumes": [{"name": "data"} | volume, {"name": "unused", "nfs": {}}]}
    return {"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": spec}


CLAIM = {"persistentVolumeClaim": {"claimName": "disk"}}
FAILED = r"^Unable to attach or mount volumes: unmounted volumes=\[data\], unattached volumes=\[\], "


def seed(cluster: MemoryCluster, spec: Object, phase: str = "Bound") -> None:
    claim = {
        "metadata": {"name": "disk", "namespace": "shop", "uid": "c1"},
        "spec": {"volumeName": "pv"},
        "status": {"phase": phase},
    }
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim)
    cluster.seed(PERSISTENT_VOLUMES, {"metadata": {"name": "pv"}, "spec": spec | {"claimRef": {"uid": "c1"}}})


async def why(cluster: MemoryCluster, root: Path, volume: Object) -> str:
    with pytest.raises(VolumeNotReady) as refused:
        await Volumes(node(cluster, root)).mount(pod(volume))
    return str(refused.value)


async def test_claims_that_are_not_as_they_must_be(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    start = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], "
    missing = await why(cluster, tmp_path, CLAIM)
    assert missing == (
        start
        + "failed to process volumes=[data]: error processing PVC shop/disk: failed to fetch PVC from API server: "
        'persistentvolumeclaims "disk" not found'
    )
    seed(cluster, {"csi": {}}, "Pending")
    assert (await why(cluster, tmp_path, CLAIM)).endswith("error processing PVC shop/disk: PVC is not bound")
    assert "web-data" in await why(cluster, tmp_path, {"ephemeral": {"volumeClaimTemplate": {}}})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"csi": {"driver": "x.io", "volumeHandle": "1"}}, "driver name x.io not found in the list of registered CSI"),
        ({"nfs": {"path": "/"}}, 'MountVolume.SetUp failed for volume "pv" : no volume plugin matched'),
        ({"local": {"path": "/does/not/exist"}}, 'for volume "pv" : path "/does/not/exist" does not exist'),
        ({"hostPath": {"path": "/etc/hosts", "type": "Directory"}}, "/etc/hosts is not a directory"),
        ({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}, "timed out waiting for the condition"),
        ({"awsElasticBlockStore": {"volumeID": "aws://us-west-2a/vol-1"}}, "timed out waiting for the condition"),
    ],
)
async def test_persistent_volumes(tmp_path: Path, spec: Object, message: str) -> None:
    cluster = MemoryCluster()
    seed(cluster, spec)
    assert message in await why(cluster, tmp_path, CLAIM)


async def test_the_node_tells_what_it_uses_while_it_waits(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    seed(cluster, {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}})
    told: list[list[str]] = []
    volumes = Volumes(node(cluster, tmp_path), in_use_changed=lambda: told.append(volumes.in_use()))
    with pytest.raises(VolumeNotReady):
        await volumes.mount(pod(CLAIM))
    assert told == [["kubernetes.io/csi/ebs.csi.aws.com^vol-1"], []]


def test_in_tree_volumes_are_translated() -> None:
    in_tree = {"volumeID": "aws://us-west-2a/vol-1", "fsType": "xfs", "readOnly": True}
    disk = disk_of({"metadata": {"name": "pv"}, "spec": {"awsElasticBlockStore": in_tree}})
    assert disk is not None
    assert (disk.handle, disk.filesystem, disk.read_only) == ("vol-1", "xfs", True)


@pytest.mark.parametrize(
    ("facts", "interfaces", "limit"),
    [
        ({"hypervisor": "nitro", "ebsAttachmentLimit": "shared"}, 1, 26),
        ({"hypervisor": "nitro", "ebsAttachmentLimit": "shared"}, 2, 25),
        ({"hypervisor": "nitro", "ebsAttachmentLimit": "shared", "instanceStores": [75]}, 1, 25),
        ({"hypervisor": "nitro", "ebsAttachmentLimit": "dedicated", "ebsAttachments": 32}, 3, 31),
        ({"hypervisor": "xen", "ebsAttachmentLimit": "shared"}, 1, 38),
    ],
)
def test_limits(facts: dict[str, Any], interfaces: int, limit: int) -> None:
    assert volume_limit(facts, interfaces) == limit


async def test_registration(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    cluster.seed(NODES, {"metadata": {"name": "n1", "uid": "n-uid"}, "spec": {}})
    found: Object | None = None
    for limit in (25, 25, 24):
        await register(node(cluster, tmp_path), limit)
        found = cluster.object(CSI_NODES, "n1")
        assert found is not None
        (driver,) = found["spec"]["drivers"]
        assert (driver["nodeID"], driver["allocatable"]) == ("i-1", {"count": limit})
    assert found is not None
    assert found["metadata"]["ownerReferences"][0]["uid"] == "n-uid"
    body = cluster.object(NODES, "n1")
    assert body is not None
    assert body["metadata"]["labels"] == {"topology.ebs.csi.aws.com/zone": "us-west-2a"}
    assert body["metadata"]["annotations"] == {"csi.volume.kubernetes.io/nodeid": '{"ebs.csi.aws.com":"i-1"}'}
    changed = [resource for verb, resource, _ in cluster.writes if verb == "update"]
    assert changed == [NODES, CSI_NODES], "nothing is written twice"
