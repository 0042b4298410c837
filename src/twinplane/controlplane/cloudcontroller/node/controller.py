"""The cloud node controller: a Node says where its instance runs, and goes when the instance is gone.

Upstream these are two controllers (cloud-node and cloud-node-lifecycle) that poll EC2; here one hears of instances
through the feed, so a terminated instance takes its Node with it at once.
"""

from __future__ import annotations

import hashlib
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.cloudcontroller.node.feed import Instance, InstanceFeed
from twinplane.controlplane.cloudcontroller.nodes import instance_id
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_is, is_deleting, labels_of, name_of, uid_of
from twinplane.kubeclient.resources import NODES

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"
RETRY = 1.0
BY_INSTANCE = "instance-id"


class NodeController:
    name = "cloud-node-controller"
    workers = 4

    def __init__(self, context: Context, feed: InstanceFeed, region: str) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._nodes = context.informers.of(NODES)
        self._feed = feed
        self._region = region

    def watch(self, enqueue: Enqueue) -> None:
        def on_node(old: Object | None, new: Object | None) -> None:
            if new is not None and (old is None or _view(old) != _view(new)):
                enqueue(Key("", name_of(new)))

        def on_instance(instance: Instance) -> None:
            for node in self._nodes.by_index(BY_INSTANCE, instance["instance_id"]):
                enqueue(Key("", name_of(node)))
            enqueue(Key("", instance["private_dns_name"]))

        self._nodes.add_index(BY_INSTANCE, lambda node: [found] if (found := instance_id(node)) else [])
        self._nodes.add_handler(on_node)
        self._feed.subscribe(on_instance)

    async def reconcile(self, key: Key) -> float | None:
        node = self._nodes.get(key.name)
        if node is None or is_deleting(node):
            return None
        if not self._feed.synced.is_set():
            return RETRY
        known = instance_id(node)
        instance = self._feed.by_id(known) if known else self._feed.by_name(name_of(node))
        if instance is None:
            return await self._without_instance(node, known)
        if instance["state"] == "terminated":
            await self._delete(node)
            return None
        await self._initialize(node, instance)
        return None

    async def _without_instance(self, node: Object, known: str) -> float | None:
        if known and not condition_is(node, "Ready"):
            # EC2 forgot the instance, and nobody speaks for the node.
            await self._delete(node)
        elif not known and _has_taint(node, UNINITIALIZED):
            return RETRY
        return None

    async def _delete(self, node: Object) -> None:
        message = f"Deleting node {name_of(node)} because it does not exist in the cloud provider"
        self._events.event(node, "Normal", "DeletingNode", message)
        try:
            await self._client.delete(NODES, name_of(node), uid=uid_of(node))
        except ApiError as error:
            if error.reason != "NotFound":
                raise

    async def _initialize(self, node: Object, instance: Instance) -> None:
        patch = self._patch(node, instance)
        if patch:
            patch.setdefault("metadata", {})["resourceVersion"] = node["metadata"]["resourceVersion"]
            await self._client.patch(NODES, name_of(node), patch)
        addresses = _addresses(node, instance)
        if addresses is not None:
            status = {"status": {"addresses": addresses}}
            await self._client.patch(NODES, name_of(node), status, subresource="status")
        if _has_taint(node, UNINITIALIZED):
            self._events.event(node, "Normal", "Synced", "Node synced successfully")

    def _patch(self, node: Object, instance: Instance) -> dict[str, Any]:
        """Labels, provider id and taints that are not yet as the instance has it."""
        patch: dict[str, Any] = {}
        present = labels_of(node)
        missing = {key: value for key, value in self._labels(instance).items() if present.get(key) != value}
        if missing:
            patch["metadata"] = {"labels": missing}
        spec: dict[str, Any] = {}
        if not node.get("spec", {}).get("providerID"):
            spec["providerID"] = f"aws:///{instance['availability_zone']}/{instance['instance_id']}"
        old = node.get("spec", {}).get("taints") or []
        taints = self._taints(old, instance)
        if taints != old:
            spec["taints"] = taints or None
        if spec:
            patch["spec"] = spec
        return patch

    def _labels(self, instance: Instance) -> dict[str, str]:
        """What cloud-provider-aws labels nodes with; the last two no kubelet may give itself, or can know."""
        zone, kind = instance["availability_zone"], instance["instance_type"]
        zone_id = instance.get("availability_zone_id")
        return {
            "node.kubernetes.io/instance-type": kind,
            "beta.kubernetes.io/instance-type": kind,
            "topology.kubernetes.io/zone": zone,
            "failure-domain.beta.kubernetes.io/zone": zone,
            "topology.kubernetes.io/region": self._region,
            "failure-domain.beta.kubernetes.io/region": self._region,
            "k8s.io/cloud-provider-aws": hashlib.md5(self._region.encode(), usedforsecurity=False).hexdigest(),
            **({"topology.k8s.aws/zone-id": zone_id} if zone_id else {}),
        }

    def _taints(self, present: list[dict[str, Any]], instance: Instance) -> list[dict[str, Any]]:
        stopped = instance["state"] in ("stopping", "stopped")
        taints = [taint for taint in present if taint["key"] != UNINITIALIZED and (stopped or taint["key"] != SHUTDOWN)]
        if stopped and not any(taint["key"] == SHUTDOWN for taint in taints):
            now = rfc3339(self._clock.now())
            taints.append({"key": SHUTDOWN, "effect": "NoSchedule", "timeAdded": now})
        return taints


def _addresses(node: Object, instance: Instance) -> list[dict[str, str]] | None:
    """The addresses that the Node should list, or None when it does."""
    name = instance["private_dns_name"]
    by_type = {"InternalIP": instance["private_ip"], "InternalDNS": name, "Hostname": name}
    wanted = [{"type": kind, "address": address} for kind, address in by_type.items()]
    present = (node.get("status") or {}).get("addresses") or []
    if all(entry in present for entry in wanted):
        return None
    return wanted + [entry for entry in present if entry["type"] not in by_type]


def _has_taint(node: Object, key: str) -> bool:
    return any(taint["key"] == key for taint in node.get("spec", {}).get("taints") or [])


def _view(node: Object) -> object:
    """All that this controller looks at; heartbeats change none of it."""
    return (
        node.get("spec"),
        labels_of(node),
        (node.get("status") or {}).get("addresses"),
        condition_is(node, "Ready"),
        is_deleting(node),
    )
