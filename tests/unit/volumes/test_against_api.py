"""What a node writes and asks for its volumes, with a node's rights, against the real API server."""

from __future__ import annotations

from pathlib import Path

from twinplane import testing
from twinplane.clock import SystemClock
from twinplane.dataplane.volumes.contract import Node
from twinplane.dataplane.volumes.disks import Disks
from twinplane.dataplane.volumes.ebs import Disk, Ebs
from twinplane.dataplane.volumes.expansion import Expansion
from twinplane.dataplane.volumes.registration import register
from twinplane.dataplane.volumes.tokens import Tokens
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.meta import name_of, uid_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)


class NoReferences:
    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return None


class Grown(Ebs):
    def has_grown(self, disk: Disk) -> bool:
        return True


async def test_a_node_may_do_what_its_volumes_need(tmp_path: Path) -> None:
    async with testing.cluster(nodes=1) as cluster:
        admin = cluster.client()
        classes = (await admin.list(STORAGE_CLASSES)).items
        assert {"gp2", "gp3"} <= {name_of(body) for body in classes}
        assert (await admin.get(CSI_DRIVERS, "ebs.csi.aws.com"))["spec"]["fsGroupPolicy"] == "File"
        name = name_of((await admin.list(NODES)).items[0])
        own = cluster.client(f"system:node:{name}", ["system:nodes", "system:authenticated"])
        node = Node(name, own, NoReferences(), SystemClock(), "i-1", "us-west-2a", root=tmp_path)
        await register(node, 25)
        await register(node, 24)
        drivers = (await admin.get(CSI_NODES, name))["spec"]["drivers"]
        assert drivers[0]["allocatable"] == {"count": 24}

        claim = await pod_with_a_claim(cluster.client(), name)
        volume = await admin.get(PERSISTENT_VOLUMES, "pv")
        condition = {"type": "FileSystemResizePending", "status": "True"}
        status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "conditions": [condition]}
        claim = await admin.patch(
            PERSISTENT_VOLUME_CLAIMS, name_of(claim), {"status": status}, "default", subresource="status"
        )
        ebs = Grown(node, Disks(node, lambda: None))
        await Expansion(node, ebs, lambda *_: None).mounted(claim, volume)
        done = await admin.get(PERSISTENT_VOLUME_CLAIMS, name_of(claim), "default")
        assert done["status"]["capacity"] == {"storage": "2Gi"}
        assert "conditions" not in done["status"]

        pod = await admin.get(PODS, "web", "default")
        token = await Tokens(own, node.clock, tmp_path / "tokens").get(pod, "vault", 3600)
        assert token.count(".") == 2


async def pod_with_a_claim(client: KubeClient, node: str) -> Object:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": "", "volumeName": "pv"}
    claim = await client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "data"}, "spec": spec}, "default")
    volume = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"},
        "claimRef": {"namespace": "default", "name": "data", "uid": uid_of(claim)},
    }
    await client.create(PERSISTENT_VOLUMES, {"metadata": {"name": "pv"}, "spec": volume})
    containers = [{"name": "app", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
    token = {"serviceAccountToken": {"audience": "vault", "path": "token"}}
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "token", "projected": {"sources": [token]}},
    ]
    body = {"metadata": {"name": "web"}, "spec": {"nodeName": node, "containers": containers, "volumes": volumes}}
    await client.create(PODS, body, "default")
    return claim
