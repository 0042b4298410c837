"""Draining the nodes of a node group before its instances are terminated, as EKS does through the Kubernetes API.

Called when EKS deletes a group, and when an Auto Scaling group has given up an instance. Nodes are cordoned, and every
pod that is neither a DaemonSet's nor a static one's copy is evicted, so disruption budgets and grace periods are kept.
As in EKS that does not go on for ever: the caller sets the bound; and where no other node could take the pods, what a
budget protects is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import NODES, PODS

NODEGROUP_LABEL = "eks.amazonaws.com/nodegroup"
MIRROR = "kubernetes.io/config.mirror"
PAUSE_SECONDS = 0.25
TOO_MANY_REQUESTS, NOT_FOUND = 429, 404


async def drain(client: KubeClient, nodegroup: str, node: str = "") -> None:
    """Returns when the nodes of the group (or that one) are empty, or no more can be done; bound it with a timeout.
    Raises `ApiError` and OSError."""
    nodes = (await client.list(NODES)).items
    # The pods of a node that does not answer would never be gone.
    group = {name_of(each) for each in nodes if labels_of(each).get(NODEGROUP_LABEL) == nodegroup and _ready(each)}
    own = group & {node} if node else group
    elsewhere = any(_ready(each) and not _unschedulable(each) for each in nodes if name_of(each) not in own)
    selector = f"spec.nodeName={node}" if node else ""
    for name in sorted(own):
        await client.patch(NODES, name, {"spec": {"unschedulable": True}})
    while pods := [pod for pod in (await client.list(PODS, field_selector=selector)).items if _concerned(pod, own)]:
        refused = await _evict(client, pods)
        if refused == len(pods) and not elsewhere:
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def _evict(client: KubeClient, pods: Iterable[Object]) -> int:
    """How many a budget protects for now."""
    refused = 0
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        metadata = {"name": name_of(pod), "namespace": namespace_of(pod)}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        try:
            await client.create(PODS, eviction, namespace=namespace_of(pod), name=name_of(pod), subresource="eviction")
        except ApiError as error:
            if error.code not in (TOO_MANY_REQUESTS, NOT_FOUND):
                raise
            refused += error.code == TOO_MANY_REQUESTS
    return refused


def _concerned(pod: Object, nodes: set[str]) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    daemon = any(owner.get("controller") and owner["kind"] == "DaemonSet" for owner in owners)
    return pod["spec"].get("nodeName") in nodes and not daemon and MIRROR not in annotations_of(pod)


def _ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _unschedulable(node: Object) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))
