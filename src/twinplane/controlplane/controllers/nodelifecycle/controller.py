"""Notices nodes that fell silent: their conditions, their taints, and the readiness of their pods.

A kubelet renews its Lease every ten seconds. A renewal is noted in a dictionary and nothing more; each node's own timer
finds out that none came. Evicting the pods is left to `tainteviction`, which acts on the taints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.nodelifecycle.conditions import (
    NOT_READY,
    UNREACHABLE,
    Taint,
    no_execute_key,
    no_schedule_keys,
    readiness,
    unknown_conditions,
    with_taints,
)
from twinplane.controlplane.controllers.nodelifecycle.zones import DEFAULT_RATES, Rates, Zones
from twinplane.controlplane.controllers.pods import is_ready, is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_NODE, by_node
from twinplane.kubeclient.meta import (
    condition_of,
    conditions_of,
    created_at,
    labels_of,
    name_of,
    namespace_of,
    with_condition,
)
from twinplane.kubeclient.node_fit import taints_of
from twinplane.kubeclient.resources import LEASES, NODES, PODS

EXCLUDE_DISRUPTION = "node.kubernetes.io/exclude-disruption"
LEASE_NAMESPACE = "kube-node-lease"
GRACE_SECONDS = 50.0
STARTUP_GRACE_SECONDS = 60.0
REGISTERED_SECONDS = 60.0
"""Nodes that are older were there before this process: nobody is told of them again."""


class NodeLifecycleController:
    """Options `node-monitor-grace-period` and `node-startup-grace-period`, in seconds, and those of `_rates`."""

    name = "node-lifecycle-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._grace = float(context.options.get("node-monitor-grace-period", GRACE_SECONDS))
        self._startup_grace = float(context.options.get("node-startup-grace-period", STARTUP_GRACE_SECONDS))
        self._nodes = context.informers.of(NODES)
        self._leases = context.informers.of(LEASES)
        self._pods = context.informers.of(PODS)
        self._pods.add_index(BY_NODE, by_node)
        self._zones = Zones(_rates(context.options))
        self._heard: dict[str, float] = {}
        self._ready: set[str] = set()
        """Nodes that were ready when last looked at: their pods may have to be told otherwise."""

    def watch(self, enqueue: Enqueue) -> None:
        def lease_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and namespace_of(new) == LEASE_NAMESPACE:
                self._heard[name_of(new)] = self._clock.now()
            elif old is not None and new is None and self._nodes.get(name_of(old)) is None:
                self._heard.pop(name_of(old), None)

        def node_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            name = name_of(changed)
            before = self._zones.state()
            if new is None:
                self._zones.remove(name)
                self._heard.pop(name, None)
                self._ready.discard(name)
                self._tell(changed, "RemovingNode", f"Removing Node {name} from Controller")
            else:
                counted = EXCLUDE_DISRUPTION not in labels_of(new)
                self._zones.put(name, zone_of(new), ready=readiness(new) == "True", counted=counted)
                if old is None and created_at(new) > self._clock.now() - REGISTERED_SECONDS:
                    self._tell(new, "RegisteredNode", f"Registered Node {name} in Controller")
                if old is None or _heartbeat(old) != _heartbeat(new):
                    self._heard[name] = self._clock.now()
                enqueue(Key("", name))
            if self._zones.state() != before:
                self._rates_changed(before[0], enqueue)

        self._leases.add_handler(lease_changed)
        self._nodes.add_handler(node_changed)

    def _tell(self, node: Object, reason: str, message: str) -> None:
        self._events.event(node, "Normal", reason, f"Node {name_of(node)} event: {message}")

    def _rates_changed(self, was_disrupted: bool, enqueue: Enqueue) -> None:
        if was_disrupted and not self._zones.all_disrupted:
            # Whatever hid all nodes is over: each gets the full time to report again.
            now = self._clock.now()
            self._heard.update(dict.fromkeys(self._zones.not_ready, now))
        for name in self._zones.not_ready:
            enqueue(Key("", name))

    async def reconcile(self, key: Key) -> float | None:
        node = self._nodes.get(key.name)
        if node is None:
            return None
        now = self._clock.now()
        silent = self._silence(node, now)
        if silent <= 0 and readiness(node) != "Unknown":
            node = await self._mark_unknown(node, now)
        await self._follow_readiness(node)
        labels = beta_labels(node)
        if labels:
            node = await self._client.patch(NODES, key.name, {"metadata": {"labels": labels}})
        wait = await self._taint(node, now)
        waits = [entry for entry in (wait, silent if silent > 0 else None) if entry is not None]
        return min(waits, default=None)

    def _silence(self, node: Object, now: float) -> float:
        """Seconds of grace that are left."""
        heard = self._heard.setdefault(name_of(node), now)
        if condition_of(node, "Ready") is None:
            return max(created_at(node), heard) + self._startup_grace - now
        return heard + max(self._grace, self._lease_seconds(name_of(node))) - now

    def _lease_seconds(self, node: str) -> float:
        """Where heartbeats are spaced out, as large fleets do, the lease says for how long the node may be silent."""
        lease = self._leases.get(node, LEASE_NAMESPACE)
        return float((lease["spec"].get("leaseDurationSeconds") or 0) if lease is not None else 0)

    async def _mark_unknown(self, node: Object, now: float) -> Object:
        status = {**(node.get("status") or {}), "conditions": unknown_conditions(node, now)}
        return await self._client.update(NODES, {**node, "status": status}, subresource="status")

    async def _follow_readiness(self, node: Object) -> None:
        name = name_of(node)
        if readiness(node) == "True":
            self._ready.add(name)
            return
        if name in self._ready:
            self._events.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods.by_index(BY_NODE, name):
            if is_ready(pod) and not is_terminal(pod):
                await self._mark_pod_unready(pod)
        self._ready.discard(name)

    async def _mark_pod_unready(self, pod: Object) -> None:
        """Endpoints must leave out pods of which nobody knows whether they run."""
        ready = condition_of(pod, "Ready") or {}
        changed = {**ready, "status": "False", "lastTransitionTime": rfc3339(self._clock.now())}
        conditions = with_condition(conditions_of(pod), changed)
        body = {**pod, "status": {**pod["status"], "conditions": conditions}}
        try:
            await self._client.update(PODS, body, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            self._events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _taint(self, node: Object, now: float) -> float | None:
        """Bring the taints up to date; returns seconds until an eviction that has to wait for its turn."""
        taints = taints_of(node)
        wanted = no_execute_key(node)
        wait: float | None = None
        if wanted is not None:
            if self._zones.all_disrupted:
                wanted = None
            elif not _is_evicted(taints):
                # A node that goes from not-ready to unreachable had its turn: its taint is exchanged at once.
                wait = self._zones.wait(name_of(node), now)
                wanted = wanted if wait == 0.0 else None
        changed = with_taints(taints, no_schedule_keys(node), wanted, now)
        if changed != taints:
            metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
            patch = {"metadata": metadata, "spec": {"taints": changed or None}}
            await self._client.patch(NODES, name_of(node), patch)
        return wait or None


def _rates(options: Mapping[str, str]) -> Rates:
    return Rates(
        float(options.get("node-eviction-rate", DEFAULT_RATES.eviction)),
        float(options.get("secondary-node-eviction-rate", DEFAULT_RATES.secondary)),
        int(options.get("large-cluster-size-threshold", DEFAULT_RATES.large_zone)),
        float(options.get("unhealthy-zone-threshold", DEFAULT_RATES.unhealthy_part)),
    )


def _is_evicted(taints: Iterable[Taint]) -> bool:
    return any(taint["effect"] == "NoExecute" and taint["key"] in (NOT_READY, UNREACHABLE) for taint in taints)


def beta_labels(node: Object) -> dict[str, str]:
    """The older names of operating system and architecture, where they are missing or say otherwise."""
    labels = labels_of(node)
    wanted = {f"beta.{key}": labels[key] for key in ("kubernetes.io/os", "kubernetes.io/arch") if key in labels}
    return {key: value for key, value in wanted.items() if labels.get(key) != value}


def zone_of(node: Object) -> str:
    labels = labels_of(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def _heartbeat(node: Object) -> tuple[str, str]:
    condition = condition_of(node, "Ready") or {}
    return str(condition.get("status")), str(condition.get("lastHeartbeatTime"))
