"""The kubelets' node side: instances become nodes, nodes stay alive by their leases.

One timer a node and a bounded number of writers; the heartbeat's period grows with the fleet, as operators of large
fleets set it, so that 5,000 nodes cost fifty small writes a second and not five hundred.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from twinplane.dataplane.aws import AwsError
from twinplane.dataplane.capacity import InstanceType, parse_instance_type
from twinplane.dataplane.csi_node import publish
from twinplane.dataplane.node_records import LEASE_NAMESPACE, allocatable_change, lease_object, lease_spec
from twinplane.dataplane.simulation.fleet.failures import NO_NODE_FAULT, NodeFacts, NodeFault
from twinplane.dataplane.simulation.fleet.member import PROVIDER, FleetInstance
from twinplane.dataplane.simulation.instances import Instance
from twinplane.dataplane.simulation.node_object import (
    NodeSpec,
    allocatable_of,
    node_annotations,
    node_labels,
    node_object,
    node_status,
    node_volumes,
)
from twinplane.dataplane.simulation.outbox import Outbox
from twinplane.dataplane.simulation.runtime import STRATEGIC, Runtime
from twinplane.dataplane.simulation.timers import Timers
from twinplane.dataplane.userdata import node_settings
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_of, labels_of, time_of, uid_of
from twinplane.kubeclient.resources import LEASES, NODES

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
HEARTBEAT_SECONDS_PER_NODE = 0.02
STATUS_SECONDS = 300.0
HEARTBEATS_PER_STATUS = 6.0
BEATS = 20
BEAT_SECONDS_MAX = 1.0
"""Heartbeats go out together, this share of their period early at most: each wake-up and each commit of the store costs
more than a lease, so that 5,000 nodes that renew one by one would cost twice as much."""
REGISTER_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """What all nodes of the process have in common."""

    cluster: str
    region: str
    version: str
    kubelet_endpoint: str
    """host:port of the process's kubelet API."""
    boot_seconds: float = 0.2


@dataclass(slots=True, eq=False)
class SimulatedNode:
    spec: NodeSpec
    uid: str
    ready: str
    """Status of the condition Ready as the API server has it."""
    since: float
    """When that began."""
    allocatable: dict[str, str]
    extended: dict[str, str | None] = field(default_factory=dict)
    """What must change of its extended resources, for the next status."""
    images: set[str] = field(default_factory=set)
    lease_known: bool = False
    facts: NodeFacts | None = None
    """Which fleet it is of, or is selected by."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Node, as far as groups of fleets may select by them."""
    fault: NodeFault = NO_NODE_FAULT
    turned: dict[str, float] = field(default_factory=dict)
    """When conditions other than Ready began or ceased to be bad."""

    @property
    def member(self) -> FleetInstance | None:
        """For a node of a fleet."""
        instance = self.spec.instance
        return instance if isinstance(instance, FleetInstance) else None

    @property
    def silent(self) -> bool:
        """Lost: nobody hears anything from it, for the time being."""
        return self.fault.silent

    @property
    def bad_conditions(self) -> tuple[str, ...]:
        """What it reports besides Ready that is not as it should be."""
        return tuple(item.type for item in self.fault.conditions if item.type != "Ready" and item.status == "True")

    @property
    def name(self) -> str:
        return self.spec.name


class Task(NamedTuple):
    """boot, register, lease, status or volumes; of one instance."""

    what: str
    instance_id: str


class NodeFleet:
    """`up` and `down` are told of nodes that start and stop working."""

    def __init__(
        self,
        runtime: Runtime,
        template: NodeTemplate,
        up: Callable[[SimulatedNode], None],
        down: Callable[[SimulatedNode], None],
        back: Callable[[SimulatedNode], None],
        *,
        facts: Callable[[str, str, Mapping[str, str]], NodeFacts | None] = lambda name, zone, labels: None,
        fault: Callable[[NodeFacts | None], NodeFault] = lambda facts: NO_NODE_FAULT,
    ) -> None:
        """`back` is told of nodes that were silent for a while.

        `facts` says, of name, zone and labels of a node that is no fleet's own, which group of a fleet selects it, and
        `fault` what is wrong with a node now.
        """
        clock = runtime.clock
        self._client = runtime.client
        self._aws = runtime.aws
        self._clock = clock
        self._random = runtime.random
        self._template = template
        self._up = up
        self._down = down
        self._back = back
        self._facts = facts
        self._fault = fault
        self._instances: dict[str, Instance] = {}
        self._nodes: dict[str, SimulatedNode] = {}
        self._by_name: dict[str, SimulatedNode] = {}
        self._by_address: dict[tuple[str, str], SimulatedNode] = {}
        self._kinds: dict[str, InstanceType] = {}
        self._allocatables: dict[tuple[object, ...], dict[str, str]] = {}
        self._zone_ids: dict[str, str] = {}
        self._outbox = Outbox("nodes", self._write)
        self._timers = Timers(clock, self._timer)
        self._writers: dict[str, Callable[[str], Awaitable[None]]] = {
            "register": self._register,
            "lease": self._renew,
            "status": self._report,
            "volumes": self._publish,
        }

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run(), name="nodes")
            group.create_task(self._timers.run(), name="node timers")

    @property
    def idle(self) -> bool:
        """Every running instance is a registered node, and nothing waits to be written."""
        return self._outbox.idle and len(self._nodes) == len(self._instances)

    def get(self, name: str) -> SimulatedNode | None:
        """A node that runs and is registered."""
        return self._by_name.get(name)

    @property
    def only_name(self) -> str:
        """Of the one node that there is; empty when there are several or none."""
        return next(iter(self._by_name)) if len(self._by_name) == 1 else ""

    @property
    def vpcs(self) -> set[str]:
        """Whose addresses nodes have."""
        return {vpc for vpc, _ in self._by_address}

    def at(self, vpc_id: str, address: str) -> SimulatedNode | None:
        return self._by_address.get((vpc_id, address))

    def apply(self, instances: list[Instance]) -> None:
        """The cluster's instances as the account has them now.

        An instance that is absent goes on: EC2 shows terminated ones for an hour, so absence only means that the
        account has just been started and does not know its own yet.
        """
        for instance in instances:
            instance_id = instance.instance_id
            known = instance_id in self._instances
            if instance.state != "running":
                if known:
                    self._stop(instance_id)
                continue
            self._instances[instance_id] = instance
            if not known:
                self._timers.set(Task("boot", instance_id), self._clock.now() + self._template.boot_seconds)

    def start(self, instance: Instance) -> None:
        """Boot a node of a fleet; one that runs already with other properties registers anew."""
        known = instance.instance_id in self._nodes
        self._instances[instance.instance_id] = instance
        delay = 0.0 if known else self._template.boot_seconds
        self._timers.set(Task("boot", instance.instance_id), self._clock.now() + delay)

    def stop(self, instance_id: str) -> None:
        if instance_id in self._instances:
            self._stop(instance_id)

    def fleets_changed(self) -> None:
        """Fleets are others, failures have begun or ended, or a node has other labels."""
        for node in self._nodes.values():
            node.facts = self._facts_of(node.spec, node.labels)
            fault = self._fault(node.facts)
            if fault != node.fault:
                self._set_fault(node, fault)

    def _set_fault(self, node: SimulatedNode, fault: NodeFault) -> None:
        now, instance_id, before = self._clock.now(), node.spec.instance.instance_id, node.fault
        changed = set(before.conditions) ^ set(fault.conditions)
        node.turned |= {condition.type: now for condition in changed if condition.type != "Ready"}
        node.fault = fault
        if not fault.silent:
            self._outbox.put(Task("status", instance_id))
        if before.silent and not fault.silent:
            self._outbox.put(Task("lease", instance_id))
            self._back(node)

    def _facts_of(self, spec: NodeSpec, labels: Mapping[str, str]) -> NodeFacts | None:
        instance = spec.instance
        if isinstance(instance, FleetInstance):
            return instance.facts
        return self._facts(spec.name, instance.availability_zone, labels)

    @property
    def heartbeat_seconds(self) -> float:
        return max(HEARTBEAT_SECONDS, HEARTBEAT_SECONDS_PER_NODE * len(self._nodes))

    @property
    def status_seconds(self) -> float:
        """A status costs a Node object, many times a lease, so it must not come more often beside a slower pulse."""
        return max(STATUS_SECONDS, HEARTBEATS_PER_STATUS * self.heartbeat_seconds)

    # -- the inside ----------------------------------------------------------------------------------------------

    def _stop(self, instance_id: str) -> None:
        del self._instances[instance_id]
        for what in ("boot", "lease", "status", "volumes"):
            self._timers.cancel(Task(what, instance_id))
        node = self._nodes.pop(instance_id, None)
        if node is not None:
            self._by_name.pop(node.name, None)
            self._by_address.pop((node.spec.instance.vpc_id, node.spec.instance.private_ip), None)
            self._down(node)

    def _timer(self, key: Hashable) -> None:
        assert isinstance(key, Task)
        self._outbox.put(Task("register", key.instance_id) if key.what == "boot" else key)

    async def _write(self, key: Hashable) -> None:
        assert isinstance(key, Task)
        if key.instance_id in self._instances:
            await self._writers[key.what](key.instance_id)

    async def _register(self, instance_id: str) -> None:
        try:
            spec = await self._spec(self._instances[instance_id])
            if self._fault(self._facts_of(spec, node_labels(spec))).silent:
                self._timers.set(Task("boot", instance_id), self._clock.now() + REGISTER_RETRY_SECONDS)
                return
            body = await self._create_or_adopt(spec)
        except (AwsError, ApiError) as error:
            log.warning("registering %s: %s", instance_id, error)
            self._timers.set(Task("boot", instance_id), self._clock.now() + REGISTER_RETRY_SECONDS)
            return
        if instance_id not in self._instances:
            return
        ready = condition_of(body, "Ready") or {}
        since = time_of(ready.get("lastTransitionTime")) or self._clock.now()
        allocatable = self._allocatable(spec)
        labels = labels_of(body)
        facts = self._facts_of(spec, labels)
        fault = self._fault(facts)
        node = SimulatedNode(
            spec, uid_of(body), str(ready.get("status")), since, allocatable, facts=facts, labels=labels, fault=fault
        )
        before = self._nodes.get(instance_id)
        if before is not None:
            node.images, node.lease_known, node.turned = before.images, before.lease_known, before.turned
        self._nodes[instance_id] = node
        self._by_name[node.name] = node
        self._by_address[spec.instance.vpc_id, spec.instance.private_ip] = node
        if fault.conditions:
            now = self._clock.now()
            node.turned |= {condition.type: now for condition in fault.conditions if condition.type != "Ready"}
            self._outbox.put(Task("status", instance_id))
        await self._renew(instance_id)
        # Behind all nodes that are about to register, as the driver starts later on a real node, too.
        self._outbox.put(Task("volumes", instance_id))
        spread = self._random.random()
        self._timers.set(Task("status", instance_id), self._clock.now() + self.status_seconds * (0.5 + spread / 2))
        self._up(node)

    async def _publish(self, instance_id: str) -> None:
        """How many volumes it takes."""
        node = self._nodes.get(instance_id)
        if node is None:
            return
        try:
            if not node.silent:
                await publish(self._client, node_volumes(node.spec, node.uid))
                return
        except ApiError as error:
            log.warning("CSINode %s: %s", node.name, error)
        self._timers.set(Task("volumes", instance_id), self._clock.now() + REGISTER_RETRY_SECONDS)

    async def _create_or_adopt(self, spec: NodeSpec) -> Object:
        wanted = node_object(spec, self._clock.now())
        try:
            return await self._client.create(NODES, wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        found = await self._client.get(NODES, spec.name)
        if found["spec"].get("providerID") != wanted["spec"]["providerID"]:
            # The address came back with another instance before the old node was cleared away.
            await self._client.delete(NODES, spec.name, uid=found["metadata"]["uid"])
            return await self._client.create(NODES, wanted)
        patch = {"metadata": {"labels": node_labels(spec), "annotations": node_annotations(spec)}}
        await self._client.patch(NODES, spec.name, patch)
        ready = condition_of(found, "Ready") or {}
        since = time_of(ready.get("lastTransitionTime")) if ready.get("status") == "True" else 0.0
        return await self._patch_status(spec, since or self._clock.now())

    def _allocatable(self, spec: NodeSpec) -> dict[str, str]:
        """Shared by the nodes that have the same."""
        key = (spec.kind.name, spec.max_pods, *spec.own_capacity.items())
        if key not in self._allocatables:
            self._allocatables[key] = allocatable_of(spec)
        return self._allocatables[key]

    async def _patch_status(self, spec: NodeSpec, since: float, node: SimulatedNode | None = None) -> Object:
        """`node` once there is one: what is wrong with it, and what others gave it, is in its status."""
        now = self._clock.now()
        if node is None:
            status, extended = node_status(spec, now, since), {}
        else:
            status = node_status(spec, now, since, node.fault.conditions, node.turned)
            extended = node.extended
        if extended:
            status["allocatable"] = {**status["allocatable"], **extended}
        patch = {"status": status}
        return await self._client.patch(NODES, spec.name, patch, subresource="status", patch_type=STRATEGIC)

    async def _spec(self, instance: Instance) -> NodeSpec:
        kind = self._kinds.get(instance.instance_type)
        if kind is None:
            name = quote(instance.instance_type, safe="")
            facts = await self._aws.get(f"/_twinplane/instance-types/{name}")
            kind = self._kinds[instance.instance_type] = parse_instance_type(instance.instance_type, facts)
        member = instance if isinstance(instance, FleetInstance) else None
        zone = instance.availability_zone
        return NodeSpec(
            instance=instance,
            kind=kind,
            settings=member.settings if member is not None else node_settings(instance.user_data),
            region=self._template.region,
            zone_id=await self._zone_id(instance.availability_zone),
            version=self._template.version,
            kubelet_endpoint=self._template.kubelet_endpoint,
            provider_id=f"{PROVIDER}{instance.instance_id}" if member else f"aws:///{zone}/{instance.instance_id}",
        )

    async def _zone_id(self, zone: str) -> str:
        if zone not in self._zone_ids:
            answer = await self._aws.ec2("DescribeAvailabilityZones", {})
            self._zone_ids[zone] = ""
            for item in answer.findall("availabilityZoneInfo/item"):
                self._zone_ids[item.findtext("zoneName") or ""] = item.findtext("zoneId") or ""
        return self._zone_ids.get(zone, "")

    async def _renew(self, instance_id: str) -> None:
        node = self._nodes.get(instance_id)
        if node is None:
            return
        period = self.heartbeat_seconds
        beat = min(period / BEATS, BEAT_SECONDS_MAX)
        due = self._clock.now() + period * (0.9 + self._random.random() / 10)
        self._timers.set(Task("lease", instance_id), due // beat * beat)
        if node.silent:
            return
        try:
            if node.lease_known:
                patch = {"spec": lease_spec(node.name, period, self._clock.now())}
                await self._client.patch(LEASES, node.name, patch, LEASE_NAMESPACE)
            else:
                await self._create_lease(node, period)
        except ApiError as error:
            if error.code != 404:
                raise
            # The lease (or its namespace) is gone: made again with the next heartbeat.
            node.lease_known = False

    async def _create_lease(self, node: SimulatedNode, period: float) -> None:
        lease = lease_object(node.name, node.uid, period, self._clock.now())
        try:
            await self._client.create(LEASES, lease, LEASE_NAMESPACE)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            patch = {"metadata": {"ownerReferences": lease["metadata"]["ownerReferences"]}, "spec": lease["spec"]}
            await self._client.patch(LEASES, node.name, patch, LEASE_NAMESPACE)
        node.lease_known = True

    async def _report(self, instance_id: str) -> None:
        node = self._nodes.get(instance_id)
        if node is None:
            return
        self._timers.set(Task("status", instance_id), self._clock.now() + self.status_seconds)
        if node.silent:
            return
        ready = node.fault.ready
        since = node.since if node.ready == ready else self._clock.now()
        try:
            body = await self._patch_status(node.spec, since, node)
            node.ready, node.since = ready, time_of((condition_of(body, "Ready") or {}).get("lastTransitionTime"))
        except ApiError as error:
            if error.code != 404:
                raise

    def node_changed(self, old: Object | None, new: Object | None) -> None:
        """From the node informer: a node that was marked unreachable while its kubelet lives says so at once, and one
        that was given an extended resource lets pods have it.
        """
        if new is None:
            return
        node = self._by_name.get(new["metadata"]["name"])
        if node is None:
            return
        ready = condition_of(new, "Ready") or {}
        node.ready, node.since = str(ready.get("status")), time_of(ready.get("lastTransitionTime"))
        node.labels = labels_of(new)
        node.extended = allocatable_change(new.get("status") or {})
        if (node.extended or node.ready != node.fault.ready) and not node.silent:
            self._outbox.put(Task("status", node.spec.instance.instance_id))
