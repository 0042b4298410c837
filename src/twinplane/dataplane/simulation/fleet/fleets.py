"""Makes the nodes of the cluster follow its fleets: ConfigMaps in, nodes that start, stop and fail out.

Level-triggered: every round compares what the ConfigMaps want with what this process runs and what the API server
holds, so it does not matter what happened while the process was away. A round is due when a ConfigMap changed or a
failure begins or ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import (
    NO_NODE_FAULT,
    Failure,
    NodeFacts,
    NodeFault,
    next_change,
    node_fault,
    read_stored,
)
from twinplane.dataplane.simulation.fleet.member import (
    PROVIDER,
    AddressRange,
    FleetInstance,
    member,
    member_name,
)
from twinplane.dataplane.simulation.fleet.spec import FAILURES_KEY, FILE_KEY, LABEL, FleetSpec, read_fleet
from twinplane.dataplane.simulation.outbox import Outbox
from twinplane.dataplane.simulation.runtime import Runtime
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer_contract import Informer
from twinplane.kubeclient.meta import labels_of, name_of, uid_of
from twinplane.kubeclient.resources import NODES

log = logging.getLogger(__name__)

BY_FLEET = "fleet"
STARTS_MAX = 500
"""Nodes started before the event loop gets a turn."""


@dataclass(frozen=True, slots=True)
class Fleet:
    spec: FleetSpec
    failures: tuple[Failure, ...]
    addresses: AddressRange


class Nodes(Protocol):
    """What `nodes.NodeFleet` is to fleets."""

    def start(self, instance: FleetInstance) -> None:
        """Boot it; one that runs already with other properties registers anew."""
        ...

    def stop(self, instance_id: str) -> None: ...


class Fleets:
    """`changed` is called when a fleet may be another, or a failure may have begun or ended."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        config_maps: Informer,
        node_objects: Informer,
        pods_in_use: Callable[[], Iterable[str]],
        nodes: Nodes,
        changed: Callable[[], None],
    ) -> None:
        """`pods_in_use` gives the addresses of all pods, for those that are older than this process."""
        self._runtime = runtime
        self._config_maps = config_maps
        self._node_objects = node_objects
        self._pods_in_use = pods_in_use
        self._nodes = nodes
        self._changed = changed
        self._fleets: dict[str, Fleet] = {}
        self._selecting = False
        """There are groups of nodes that are no fleet's own."""
        self._members: dict[str, FleetInstance] = {}
        self._names: set[str] = set()
        """Of the members' nodes."""
        self._due = asyncio.Event()
        self._outbox = Outbox("fleet nodes", self._delete)
        self.settled = False
        """The fleets were looked at once."""
        node_objects.add_index(BY_FLEET, lambda body: [labels_of(body)[LABEL]] if LABEL in labels_of(body) else [])
        config_maps.add_handler(lambda old, new: self._due.set())
        node_objects.add_handler(self._node_changed)

    @property
    def idle(self) -> bool:
        return self.settled and self._outbox.idle and not self._due.is_set()

    def get(self, name: str) -> Fleet | None:
        return self._fleets.get(name)

    def facts_of(self, node: str, zone: str, labels: Mapping[str, str]) -> NodeFacts | None:
        """Of a node that is no fleet's own: where the first group puts it that selects it."""
        found = ((fleet, group) for fleet in self._fleets.values() for group in fleet.spec.groups)
        chosen = next(((fleet, group) for fleet, group in found if group.selects(labels)), None)
        return NodeFacts(node, chosen[0].spec.name, chosen[1].name, zone) if chosen is not None else None

    def fault_of(self, facts: NodeFacts | None) -> NodeFault:
        """What is wrong with a node now."""
        fleet = self._fleets.get(facts.fleet) if facts is not None else None
        if facts is None or fleet is None or not fleet.failures:
            return NO_NODE_FAULT
        return node_fault(fleet.failures, facts, self._runtime.clock.now())

    def read(self) -> None:
        """What the ConfigMaps say. Informers must be synced."""
        self._fleets = self._read()
        groups = (group for fleet in self._fleets.values() for group in fleet.spec.groups)
        self._selecting = any(group.node_selector is not None for group in groups)

    async def run(self) -> None:
        """Until cancelled. Informers must be synced."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run(), name="fleet nodes")
            while True:
                self._due.clear()
                await self._round()
                self.settled = True
                await self._wait()

    async def _wait(self) -> None:
        now = self._runtime.clock.now()
        moment = next_change(self._all_failures(), now)
        try:
            async with asyncio.timeout(None if moment is None else max(moment - now, 0.001)):
                await self._due.wait()
        except TimeoutError:
            return

    def _all_failures(self) -> list[Failure]:
        return [failure for fleet in self._fleets.values() for failure in fleet.failures]

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """A node that was being registered while its fleet went away, or one that other groups select now."""
        if new is None:
            return
        if _is_fleet_node(new):
            if name_of(new) not in self._names:
                self._due.set()
        elif self._selecting and old is not None and labels_of(old) != labels_of(new):
            self._due.set()

    # -- one round -----------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        self.read()
        wanted = await self._start()
        for instance_id in [key for key in self._members if key not in wanted]:
            gone = self._members.pop(instance_id)
            self._nodes.stop(instance_id)
            gone.addresses.give_back(gone.private_ip)
            self._names.discard(gone.private_dns_name)
            self._outbox.put(gone.private_dns_name)
        self._delete_strangers()
        self._changed()

    def _read(self) -> dict[str, Fleet]:
        found: dict[str, Fleet] = {}
        for body in sorted(self._config_maps.list(), key=name_of):
            name = labels_of(body).get(LABEL, "")
            try:
                found[name] = self._fleet(name, body, found)
            except (InvalidFleet, ValueError, KeyError) as error:
                # The command line checked it; somebody has edited it since. What ran goes on.
                self._runtime.events.event(body, "Warning", "InvalidFleet", str(error))
                if name in self._fleets:
                    found[name] = self._fleets[name]
        return found

    def _fleet(self, name: str, body: Object, others: dict[str, Fleet]) -> Fleet:
        data = body.get("data") or {}
        spec = read_fleet(orjson.loads(data[FILE_KEY]))
        if spec.name != name:
            raise InvalidFleet(f"metadata.name: {spec.name!r} must be {name!r}, as the ConfigMap's label {LABEL}")
        for other in others.values():
            if other.spec.overlaps(spec):
                raise InvalidFleet(f"spec.cidr: {spec.cidr} overlaps {other.spec.cidr} of fleet {other.spec.name}")
        failures = document.each(read_stored)(orjson.loads(data.get(FAILURES_KEY) or "[]"), "failures")
        before = self._fleets.get(name)
        known = before is not None and before.spec.cidr == spec.cidr
        addresses = before.addresses if before is not None and known else self._range(spec)
        return Fleet(spec, failures, addresses)

    def _range(self, spec: FleetSpec) -> AddressRange:
        addresses = AddressRange(spec.cidr)
        for address in self._pods_in_use():
            if address in addresses:
                addresses.claim(address)
        for body in self._node_objects.by_index(BY_FLEET, spec.name):
            if (address := _internal_address(body)) in addresses:
                addresses.claim(address)
        return addresses

    async def _start(self) -> set[str]:
        """The ids that there should be; those that are new or other than before are started."""
        wanted: set[str] = set()
        started = 0
        for fleet in self._fleets.values():
            for group in fleet.spec.groups:
                for number in range(group.count):
                    instance_id = f"{fleet.spec.name}/{group.name}-{number}"
                    wanted.add(instance_id)
                    known = self._members.get(instance_id)
                    address = self._address(fleet, known, member_name(fleet.spec.name, group.name, number))
                    instance = member(fleet.spec, group, number, address, fleet.addresses)
                    if instance != known and address:
                        self._members[instance_id] = instance
                        self._names.add(instance.private_dns_name)
                        self._nodes.start(instance)
                        started += 1
                        if started % STARTS_MAX == 0:
                            await asyncio.sleep(0)
        return wanted

    def _address(self, fleet: Fleet, known: FleetInstance | None, name: str) -> str:
        if known is not None and known.addresses is fleet.addresses:
            return known.private_ip
        body = self._node_objects.get(name)
        held = _internal_address(body) if body is not None else ""
        return held if held and held in fleet.addresses else fleet.addresses.take() or ""

    # -- nodes that should not be --------------------------------------------------------------------------------

    def _delete_strangers(self) -> None:
        """Nodes of a fleet that was deleted or made smaller while this process was away."""
        for body in self._node_objects.list():
            if _is_fleet_node(body) and name_of(body) not in self._names:
                self._outbox.put(name_of(body))

    async def _delete(self, key: Hashable) -> None:
        body = self._node_objects.get(str(key))
        if body is None:
            return
        message = f"Deleting node {key} because its fleet has no such node any more"
        self._runtime.events.event(body, "Normal", "DeletingNode", message)
        try:
            await self._runtime.client.delete(NODES, str(key), uid=uid_of(body))
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def _is_fleet_node(body: Object) -> bool:
    return str(body["spec"].get("providerID") or "").startswith(PROVIDER)


def _internal_address(body: Object) -> str:
    addresses = (body.get("status") or {}).get("addresses") or ()
    return next((str(item["address"]) for item in addresses if item["type"] == "InternalIP"), "")
