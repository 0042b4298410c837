"""Registers the EBS driver for a node: its CSINode, and what the Node says of it.

Once after the Node exists, by the agent. The limit is the driver's own sum: what the instance type can attach, less
what is attached that is not a volume of a claim.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Any

import orjson

from twinplane.dataplane.volumes.contract import Node
from twinplane.dataplane.volumes.disks import DRIVER
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, name_of, uid_of
from twinplane.kubeclient.resources import CSI_NODES, NODES

NITRO_SLOTS, XEN_VOLUMES = 28, 39
ZONE = "topology.ebs.csi.aws.com/zone"
TOPOLOGY_KEYS = ("kubernetes.io/os", ZONE, "topology.kubernetes.io/zone")
NODE_ID = "csi.volume.kubernetes.io/nodeid"
MIGRATED = "storage.alpha.kubernetes.io/migrated-plugins"
MIGRATED_PLUGINS = (
    "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,"
    "kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume"
)
_interface = re.compile(r"e(th|ns)\d+").fullmatch


def volume_limit(facts: Mapping[str, Any], interfaces: int, mapped: int = 0) -> int:
    """Volumes of claims that a node may have.

    `facts` of the instance type are those of `/_twinplane/instance-types/TYPE`; `interfaces` are attached when the
    driver starts, `mapped` volumes were attached at launch beside the root volume.
    """
    if facts.get("ebsAttachmentLimit") == "dedicated":
        available = int(facts["ebsAttachments"])
    elif facts.get("hypervisor") == "xen":
        available = XEN_VOLUMES
    else:
        stores, accelerators = len(facts.get("instanceStores") or ()), int(facts.get("gpus") or 0)
        available = NITRO_SLOTS - interfaces - stores - accelerators
    return max(available - mapped - 1, 1)


def attached_interfaces() -> int:
    """In the network namespace of the caller; a node has at least one."""
    return max(1, sum(1 for _, name in socket.if_nameindex() if _interface(name)))


async def register(node: Node, limit: int) -> None:
    """Idempotent. Raises `ApiError`, OSError."""
    body = await node.client.get(NODES, node.name)
    await _describe(node, body)
    driver = {
        "name": DRIVER,
        "nodeID": node.instance_id,
        "topologyKeys": list(TOPOLOGY_KEYS),
        "allocatable": {"count": limit},
    }
    owner = {"apiVersion": "v1", "kind": NODES.kind, "name": node.name, "uid": uid_of(body)}
    metadata = {"name": node.name, "annotations": {MIGRATED: MIGRATED_PLUGINS}, "ownerReferences": [owner]}
    try:
        found = await node.client.get(CSI_NODES, node.name)
    except ApiError as error:
        if error.code != 404:
            raise
        await node.client.create(CSI_NODES, {"metadata": metadata, "spec": {"drivers": [driver]}})
        return
    others = [entry for entry in found["spec"].get("drivers") or [] if entry["name"] != DRIVER]
    change = {"metadata": {key: metadata[key] for key in ("annotations", "ownerReferences")}}
    if [driver, *others] != found["spec"].get("drivers"):
        await node.client.patch(CSI_NODES, name_of(found), change | {"spec": {"drivers": [driver, *others]}})


async def _describe(node: Node, body: Object) -> None:
    ids = orjson.loads(annotations_of(body).get(NODE_ID) or b"{}") | {DRIVER: node.instance_id}
    metadata = {"labels": {ZONE: node.zone}, "annotations": {NODE_ID: orjson.dumps(ids).decode()}}
    if annotations_of(body).get(NODE_ID) != metadata["annotations"][NODE_ID]:
        await node.client.patch(NODES, node.name, {"metadata": metadata})
