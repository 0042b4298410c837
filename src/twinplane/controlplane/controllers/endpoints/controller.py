"""The old `v1 Endpoints` of Services, for clients that have not moved to EndpointSlices."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.endpointslice.endpoints_of import (
    Ports,
    address_of,
    counts,
    families_of,
    ports_of,
)
from twinplane.controlplane.controllers.endpointslice.services import ServicesOfPods
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.pods import is_ready
from twinplane.controlplane.controllers.remembered import Remembered
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import candidates
from twinplane.kubeclient.meta import annotations_of, is_deleting, labels_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import ENDPOINTS, PODS, SERVICES

ADDRESSES_MAX = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
MANAGED_BY = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
HEADLESS = "service.kubernetes.io/headless"
BATCH_SECONDS = 0.005
"""For each address, a thousand at most: every change writes all of them, for readers that are few."""


class Described(NamedTuple):
    """What a pod adds to its Service's endpoints."""

    address: str
    ports: Ports
    ready: bool
    entry: dict[str, Any]


class EndpointsController:
    name = "endpoints-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._services = context.informers.of(SERVICES)
        self._pods = context.informers.of(PODS)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._of_pods = ServicesOfPods(self._services, self._pods)
        self._described: Remembered[Described | None] = Remembered()

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(key_of(body))

        def endpoints_changed(old: Object | None, new: Object | None) -> None:
            if new is None and old is not None:
                enqueue(key_of(old))

        self._services.add_handler(changed)
        self._endpoints.add_handler(endpoints_changed)
        self._of_pods.watch(enqueue)

    async def reconcile(self, key: Key) -> float | None:
        service = self._services.get(key.name, key.namespace)
        existing = self._endpoints.get(key.name, key.namespace)
        if service is None or is_deleting(service):
            if existing is not None and service is None:
                await self._delete(existing)
            self._described.forget(key)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        pods = candidates(self._pods, key.namespace, {"matchLabels": service["spec"]["selector"]})
        found = self._described.of(key, service, pods, partial(_described, service))
        subsets, truncated = _subsets([entry for entry in found if entry is not None])
        await self._write(service, existing, subsets, truncated=truncated)
        return None

    def batch_period(self, key: Key) -> float:
        return BATCH_SECONDS * min(self._described.count(key), ADDRESSES_MAX)

    async def _write(
        self, service: Object, existing: Object | None, subsets: list[dict[str, Any]], *, truncated: bool
    ) -> None:
        labels = {**labels_of(service), **MANAGED_BY}
        labels.pop(HEADLESS, None)
        if service["spec"].get("clusterIP") == "None":
            labels[HEADLESS] = ""
        annotations = dict(annotations_of(existing)) if existing is not None else {}
        annotations.pop(OVER_CAPACITY, None)
        if truncated:
            annotations[OVER_CAPACITY] = "truncated"
        if existing is not None and _same(existing, subsets, labels, annotations):
            return
        annotations[LAST_CHANGE] = rfc3339(self._clock.now())
        metadata: dict[str, Any] = {"labels": labels, "annotations": annotations}
        try:
            if existing is None:
                metadata |= {"name": name_of(service), "namespace": namespace_of(service)}
                await self._client.create(ENDPOINTS, {"metadata": metadata, "subsets": subsets}, namespace_of(service))
            else:
                body = {**existing, "metadata": {**existing["metadata"], **metadata}, "subsets": subsets}
                await self._client.update(ENDPOINTS, body)
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise

    async def _delete(self, existing: Object) -> None:
        try:
            await self._client.delete(ENDPOINTS, name_of(existing), namespace_of(existing))
        except ApiError as error:
            if error.code != 404:
                raise


def _same(existing: Object, subsets: list[dict[str, Any]], labels: dict[str, str], annotations: dict[str, str]) -> bool:
    unchanged = dict(annotations_of(existing)) == annotations and dict(labels_of(existing)) == labels
    return unchanged and (existing.get("subsets") or []) == subsets


def _described(service: Object, pod: Object) -> Described | None:
    """None for a pod that is not among the Service's endpoints."""
    if not (service["spec"]["selector"].items() <= labels_of(pod).items() and counts(pod)):
        return None
    address = address_of(pod, families_of(service)[0])
    unready = bool(service["spec"].get("publishNotReadyAddresses"))
    if address is None or not (unready or not is_deleting(pod)):
        return None
    return Described(address, ports_of(service, pod), unready or is_ready(pod), _address(service, pod, address))


def _subsets(found: list[Described]) -> tuple[list[dict[str, Any]], bool]:
    """Repacked by ports, addresses in order; and whether some had to be left out."""
    found.sort(key=attrgetter("address"))
    groups: dict[Ports, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = defaultdict(lambda: ([], []))
    for _, ports, ready, entry in found[:ADDRESSES_MAX]:
        groups[ports][0 if ready else 1].append(entry)
    subsets = [_subset(ports, *addresses) for ports, addresses in sorted(groups.items())]
    return subsets, len(found) > ADDRESSES_MAX


def _subset(ports: Ports, ready: list[dict[str, Any]], not_ready: list[dict[str, Any]]) -> dict[str, Any]:
    wire = [{key: value for key, value in port.wire().items() if value} for port in ports]
    subset = {"addresses": ready, "notReadyAddresses": not_ready, "ports": wire}
    return {key: value for key, value in subset.items() if value}


def _address(service: Object, pod: Object, address: str) -> dict[str, Any]:
    target = {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}
    entry: dict[str, Any] = {"ip": address, "targetRef": target}
    if pod["spec"].get("nodeName"):
        entry["nodeName"] = pod["spec"]["nodeName"]
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == name_of(service):
        entry["hostname"] = hostname
    return entry
