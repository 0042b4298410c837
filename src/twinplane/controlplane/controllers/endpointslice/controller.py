"""Keeps the EndpointSlices of every Service with a selector: what kube-proxy, load balancers and DNS follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.endpointslice import hints, slices
from twinplane.controlplane.controllers.endpointslice.endpoints_of import (
    FAMILIES,
    ZONE_LABEL,
    Ports,
    address_of,
    counts,
    endpoint_of,
    families_of,
    ports_of,
)
from twinplane.controlplane.controllers.endpointslice.services import ServicesOfPods
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.remembered import Remembered
from twinplane.controlplane.controllers.written import Written
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_NODE, by_node, candidates
from twinplane.kubeclient.meta import (
    annotations_of,
    controller_reference,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
BY_SERVICE = "service"
BATCH_SECONDS = 0.002
"""For each endpoint,"""
BATCH_SECONDS_MAX = 1.0
"""and no longer. Large clusters set half a second for all Services (`--endpointslice-updates-batch-period`)."""


class EndpointSliceController:
    name = "endpointslice-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._services = context.informers.of(SERVICES)
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._pods.add_index(BY_NODE, by_node)
        self._slices.add_index(BY_SERVICE, service_of_slice)
        self._of_pods = ServicesOfPods(self._services, self._pods)
        self._written = Written(self._slices, context.clock)
        self._described: Remembered[tuple[Ports, str, slices.Endpoint] | None] = Remembered()

    def watch(self, enqueue: Enqueue) -> None:
        def service_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            enqueue(key_of(changed))

        def slice_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            key = Key(namespace_of(changed), labels_of(changed).get(SERVICE_NAME, ""))
            if labels_of(changed).get(MANAGED_BY) == CONTROLLER and not (new and self._written.is_echo(key, new)):
                enqueue(key)

        def node_changed(old: Object | None, new: Object | None) -> None:
            # Pods are bound to nodes that are there; only a zone that comes late or changes matters.
            zones = [labels_of(node).get(ZONE_LABEL) if node is not None else None for node in (old, new)]
            if new is not None and zones[0] != zones[1]:
                for pod in self._pods.by_index(BY_NODE, name_of(new)):
                    for key in self._of_pods.keys_of(pod):
                        self._forget(key)
                        enqueue(key)

        self._services.add_handler(service_changed)
        self._slices.add_handler(slice_changed)
        self._of_pods.watch(enqueue)
        self._nodes.add_handler(node_changed)

    async def reconcile(self, key: Key) -> float | None:
        service = self._services.get(key.name, key.namespace)
        existing = [
            entry
            for entry in self._slices.by_index(BY_SERVICE, f"{key.namespace}/{key.name}")
            if labels_of(entry).get(MANAGED_BY) == CONTROLLER and not is_deleting(entry)
        ]
        if service is None or is_deleting(service):
            # Garbage collection does the same; without the Service nothing else would look at them again.
            for entry in existing if service is None else ():
                await self._delete(entry)
            self._written.forget(key)
            self._forget(key)
            return None
        behind = self._written.pending(key)
        if behind is not None:
            return behind
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        families = families_of(service)
        for family in families:
            of_family = [entry for entry in existing if entry["addressType"] == family]
            await self._reconcile_family(service, family, of_family)
        for entry in existing:
            if entry["addressType"] not in families:
                await self._delete(entry)
        return None

    def batch_period(self, key: Key) -> float:
        endpoints = sum(self._described.count(_key_of_family(key, family)) for family in FAMILIES)
        return min(BATCH_SECONDS * endpoints, BATCH_SECONDS_MAX)

    async def _reconcile_family(self, service: Object, family: str, existing: list[Object]) -> None:
        desired = self._desired(service, family)
        groups: dict[Any, list[Object]] = defaultdict(list)
        for entry in existing:
            groups[_ports_key(entry.get("ports") or [])].append(entry)
        meta = slice_metadata(service)
        for ports, endpoints in desired.items():
            wire = [port.wire() for port in ports]
            of_ports = groups.pop(_ports_key(wire), [])
            plan = slices.planned(of_ports, endpoints)
            await self._apply(service, family, wire, plan)
            written = {name_of(entry) for entry, _ in plan.update} | {name_of(entry) for entry in plan.delete}
            for entry in of_ports:
                if name_of(entry) not in written and dict(labels_of(entry)) != meta["labels"]:
                    await self._update(service, entry, entry.get("endpoints") or [])
        left = [entry for entries in groups.values() for entry in entries]
        if not desired:
            # A Service without endpoints keeps one empty slice, so that readers know it was looked at.
            keep = next((entry for entry in left if not entry.get("endpoints") and not entry.get("ports")), None)
            if keep is None:
                await self._create(service, family, [], [])
            left = [entry for entry in left if entry is not keep]
        for entry in left:
            await self._delete(entry)

    def _desired(self, service: Object, family: str) -> dict[Ports, dict[str, slices.Endpoint]]:
        selector = service["spec"]["selector"]

        def described(pod: Object) -> tuple[Ports, str, slices.Endpoint] | None:
            address = address_of(pod, family) if selector.items() <= labels_of(pod).items() and counts(pod) else None
            if address is None:
                return None
            node = self._nodes.get(pod["spec"].get("nodeName", ""))
            endpoint = endpoint_of(service, pod, node, address)
            return ports_of(service, pod), slices.identity_of(endpoint), endpoint

        pods = candidates(self._pods, namespace_of(service), {"matchLabels": selector})
        hinted = hints.is_topology_aware(service) or bool(service["spec"].get("trafficDistribution"))
        desired: dict[Ports, dict[str, slices.Endpoint]] = defaultdict(dict)
        for found in self._described.of(_key_of_family(key_of(service), family), service, pods, described):
            if found is not None:
                ports, identity, endpoint = found
                desired[ports][identity] = {**endpoint} if hinted else endpoint
        if hinted:
            parts = hints.parts_of_zones(self._nodes.list()) if hints.is_topology_aware(service) else {}
            for endpoints in desired.values():
                hints.add_hints(service, endpoints.values(), parts)
        return desired

    def _forget(self, key: Key) -> None:
        for family in FAMILIES:
            self._described.forget(_key_of_family(key, family))

    async def _apply(self, service: Object, family: str, ports: list[dict[str, Any]], plan: slices.Plan) -> None:
        for endpoints in plan.create:
            await self._create(service, family, ports, endpoints)
        for entry, endpoints in plan.update:
            await self._update(service, entry, endpoints)
        for entry in plan.delete:
            await self._delete(entry)

    async def _create(
        self, service: Object, family: str, ports: list[dict[str, Any]], endpoints: list[slices.Endpoint]
    ) -> None:
        metadata = {
            **slice_metadata(service),
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "ownerReferences": [controller_reference(service, SERVICES)],
            "annotations": {LAST_CHANGE: rfc3339(self._clock.now())},
        }
        body = {"metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": ports}
        try:
            answer = await self._client.create(ENDPOINT_SLICES, body, namespace_of(service))
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise
        else:
            self._written.note(key_of(service), answer)

    async def _update(self, service: Object, entry: Object, endpoints: list[slices.Endpoint]) -> None:
        annotations = {**annotations_of(entry), LAST_CHANGE: rfc3339(self._clock.now())}
        metadata = {**entry["metadata"], **slice_metadata(service), "annotations": annotations}
        body = {**entry, "metadata": metadata, "endpoints": endpoints}
        self._written.note(key_of(service), await self._client.update(ENDPOINT_SLICES, body))

    async def _delete(self, entry: Object) -> None:
        try:
            await self._client.delete(ENDPOINT_SLICES, name_of(entry), namespace_of(entry))
        except ApiError as error:
            if error.code != 404:
                raise


def _key_of_family(key: Key, family: str) -> Key:
    return key._replace(kind=family)


def service_of_slice(entry: Object) -> Iterable[str]:
    service = labels_of(entry).get(SERVICE_NAME)
    return (f"{namespace_of(entry)}/{service}",) if service else ()


def slice_metadata(service: Object) -> dict[str, Any]:
    """The Service's labels, and those by which slices are found."""
    labels = {**labels_of(service), SERVICE_NAME: name_of(service), MANAGED_BY: CONTROLLER}
    labels.pop(HEADLESS, None)
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return {"labels": labels}


def _ports_key(ports: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Ports of slices that came back from the API server may carry fields in any order, or empty ones left out."""
    return tuple(
        sorted(
            (port.get("name") or "", port.get("port") or 0, port.get("protocol", "TCP"), port.get("appProtocol") or "")
            for port in ports
        )
    )
