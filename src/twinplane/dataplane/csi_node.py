"""What a node says of the EBS CSI driver: its CSINode, and a label and an annotation of the Node.

Of real nodes (`volumes.registration`) and of simulated ones (`simulation.nodes`). Sources: the kubelet's
`nodeinfomanager`, the driver's `NodeGetInfo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, name_of
from twinplane.kubeclient.resources import CSI_NODES, NODES

DRIVER = "ebs.csi.aws.com"
NITRO_SLOTS, XEN_VOLUMES = 28, 39
ZONE = "topology.ebs.csi.aws.com/zone"
TOPOLOGY_KEYS = ("kubernetes.io/os", ZONE, "topology.kubernetes.io/zone")
NODE_ID = "csi.volume.kubernetes.io/nodeid"
SIMULATED = "twinplane.io/simulated"
"""A label: nothing is mounted there, so that nobody waits for the node to do its part."""
MIGRATED = "storage.alpha.kubernetes.io/migrated-plugins"
MIGRATED_PLUGINS = (
    "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,"
    "kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume"
)


def volume_limit(facts: Mapping[str, Any], interfaces: int = 1, mapped: int = 0) -> int:
    """Volumes of claims that a node may have: what its instance type can attach, less what is attached otherwise.

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


def csi_node(name: str, uid: str, node_id: str, limit: int) -> Object:
    """Of the Node with this name and uid, with the driver as it is called there."""
    owner = {"apiVersion": "v1", "kind": NODES.kind, "name": name, "uid": uid}
    driver = {
        "name": DRIVER,
        "nodeID": node_id,
        "topologyKeys": list(TOPOLOGY_KEYS),
        "allocatable": {"count": limit},
    }
    metadata = {"name": name, "annotations": {MIGRATED: MIGRATED_PLUGINS}, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"drivers": [driver]}}


async def publish(client: KubeClient, wanted: Object) -> None:
    """Create the CSINode, or bring the one that there is up to date. Idempotent; raises `ApiError`, OSError.

    Drivers that others have registered stay.
    """
    try:
        await client.create_named(CSI_NODES, wanted)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    else:
        return
    found = await client.get(CSI_NODES, name_of(wanted))
    there, own = found["spec"].get("drivers") or [], wanted["spec"]["drivers"]
    drivers = [*own, *(entry for entry in there if entry["name"] != DRIVER)]
    same = found["metadata"].get("ownerReferences") == wanted["metadata"]["ownerReferences"] and drivers == there
    if not same or wanted["metadata"]["annotations"].items() - annotations_of(found).items():
        change = {**wanted["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}
        await client.patch(CSI_NODES, name_of(wanted), {"metadata": change, "spec": {"drivers": drivers}})
