"""Mirrors Endpoints that users write by hand into EndpointSlices: those of Services without a selector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.endpointslice import slices
from twinplane.controlplane.controllers.endpointslice.controller import (
    BY_SERVICE,
    MANAGED_BY,
    SERVICE_NAME,
    service_of_slice,
)
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.written import Written
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    annotations_of,
    controller_reference,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time")
ADDRESSES_MAX = 1000
"""Of a subset; the rest is not mirrored."""

Ports = tuple[tuple[tuple[str, Any], ...], ...]
Desired = dict[tuple[str, Ports], dict[str, slices.Endpoint]]


class EndpointSliceMirroringController:
    name = "endpointslicemirroring-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.informers.of(SERVICES)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._slices.add_index(BY_SERVICE, service_of_slice)
        self._written = Written(self._slices, context.clock)

    def watch(self, enqueue: Enqueue) -> None:
        def endpoints_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            service = self._services.get(name_of(body), namespace_of(body))
            # Most Endpoints are written by the endpoints controller: their Services have selectors.
            if service is None or not service["spec"].get("selector"):
                enqueue(key_of(body))

        def service_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(key_of(body))

        def slice_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            if labels_of(body).get(MANAGED_BY) == CONTROLLER:
                enqueue(Key(namespace_of(body), labels_of(body).get(SERVICE_NAME, "")))

        self._endpoints.add_handler(endpoints_changed)
        self._services.add_handler(service_changed)
        self._slices.add_handler(slice_changed)

    async def reconcile(self, key: Key) -> float | None:
        behind = self._written.pending(key)
        if behind is not None:
            return behind
        existing = [
            entry
            for entry in self._slices.by_index(BY_SERVICE, f"{key.namespace}/{key.name}")
            if labels_of(entry).get(MANAGED_BY) == CONTROLLER and not is_deleting(entry)
        ]
        endpoints = self._endpoints.get(key.name, key.namespace)
        service = self._services.get(key.name, key.namespace)
        if endpoints is None or service is None or service["spec"].get("selector") or not _is_mirrored(endpoints):
            for entry in existing:
                await self._delete(entry)
            self._written.forget(key)
            return None
        groups: dict[tuple[str, Ports], list[Object]] = defaultdict(list)
        for entry in existing:
            groups[entry["addressType"], _ports(entry.get("ports") or [])].append(entry)
        metadata = _metadata(endpoints)
        for (family, ports), desired in _desired(endpoints).items():
            plan = slices.planned(groups.pop((family, ports), []), desired)
            for made in plan.create:
                await self._create(key, endpoints, metadata, (family, ports, made))
            for entry, kept in plan.update:
                body = {**entry, "metadata": {**entry["metadata"], **metadata}, "endpoints": kept}
                self._written.note(key, await self._client.update(ENDPOINT_SLICES, body))
            for entry in plan.delete:
                await self._delete(entry)
        for left in groups.values():
            for entry in left:
                await self._delete(entry)
        return None

    async def _create(
        self,
        key: Key,
        endpoints: Object,
        metadata: Mapping[str, Any],
        content: tuple[str, Ports, list[slices.Endpoint]],
    ) -> None:
        family, ports, entries = content
        body = {
            "metadata": {
                **metadata,
                "generateName": f"{key.name}-",
                "namespace": key.namespace,
                "ownerReferences": [controller_reference(endpoints, ENDPOINTS)],
            },
            "addressType": family,
            "endpoints": entries,
            "ports": [dict(port) for port in ports],
        }
        try:
            self._written.note(key, await self._client.create(ENDPOINT_SLICES, body, key.namespace))
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise

    async def _delete(self, entry: Object) -> None:
        try:
            await self._client.delete(ENDPOINT_SLICES, name_of(entry), namespace_of(entry))
        except ApiError as error:
            if error.code != 404:
                raise


def _is_mirrored(endpoints: Object) -> bool:
    return labels_of(endpoints).get(SKIP) != "true" and LEADER not in annotations_of(endpoints)


def _metadata(endpoints: Object) -> dict[str, Any]:
    labels = {**labels_of(endpoints), SERVICE_NAME: name_of(endpoints), MANAGED_BY: CONTROLLER}
    annotations = {key: value for key, value in annotations_of(endpoints).items() if key not in NOT_COPIED}
    return {"labels": labels, "annotations": annotations}


def _desired(endpoints: Object) -> Desired:
    """By address family and ports; endpoints that come in several subsets with the same ports are one."""
    result: Desired = {}
    for subset in endpoints.get("subsets") or []:
        ports = _ports(subset.get("ports") or [])
        found = [(entry, True) for entry in subset.get("addresses") or []]
        found += [(entry, False) for entry in subset.get("notReadyAddresses") or []]
        for entry, ready in found[:ADDRESSES_MAX]:
            family = "IPv6" if ":" in entry["ip"] else "IPv4"
            endpoint: slices.Endpoint = {"addresses": [entry["ip"]], "conditions": {"ready": ready}}
            endpoint |= {key: entry[key] for key in ("hostname", "nodeName", "targetRef") if entry.get(key)}
            result.setdefault((family, ports), {})[slices.identity_of(endpoint)] = endpoint
    return result


def _ports(ports: list[dict[str, Any]]) -> Ports:
    wire = []
    for port in ports:
        entry = {"name": port.get("name") or "", "port": port["port"], "protocol": port.get("protocol") or "TCP"}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        wire.append(tuple(sorted(entry.items())))
    return tuple(sorted(wire))
