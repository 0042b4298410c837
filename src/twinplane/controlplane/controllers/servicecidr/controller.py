"""Service address ranges as objects: the default ServiceCIDR, its readiness, and an IPAddress for each cluster IP.

Addresses themselves are chosen at admission; the IPAddress objects show what is taken, and keep a range that is in use
from being deleted.
"""

from __future__ import annotations

from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.servicecidr.addresses import (
    ALLOCATOR,
    MANAGED_BY_LABEL,
    address_object,
    cluster_ips,
    only_here,
    parent_of,
)
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    conditions_of,
    finalizers_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    with_condition,
)
from twinplane.kubeclient.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
DEFAULT = "kubernetes"
IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


class ServiceCidrController:
    """Option `service-cidr`: the cluster's range, or two with a comma between them. Without it nothing is made."""

    name = "service-cidr-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._default = [entry for entry in context.options.get("service-cidr", "").split(",") if entry]
        self._ranges = context.informers.of(SERVICE_CIDRS)
        self._addresses = context.informers.of(IP_ADDRESSES)
        self._services = context.informers.of(SERVICES)

    def watch(self, enqueue: Enqueue) -> None:
        def range_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(Key("", name_of(body), SERVICE_CIDRS.kind))

        def service_changed(old: Object | None, new: Object | None) -> None:
            before = cluster_ips(old) if old is not None else []
            after = cluster_ips(new) if new is not None else []
            if before != after:
                for address in {*before, *after}:
                    enqueue(Key("", address, IP_ADDRESSES.kind))
            if new is not None and before != after:
                enqueue(Key(namespace_of(new), name_of(new), SERVICES.kind))

        def address_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(Key("", name_of(body), IP_ADDRESSES.kind))
            if new is None:
                parent = parent_of(body)
                if parent is not None:
                    enqueue(Key(*parent, SERVICES.kind))
                for entry in self._ranges.list():
                    if is_deleting(entry):
                        enqueue(Key("", name_of(entry), SERVICE_CIDRS.kind))

        self._ranges.add_handler(range_changed)
        self._services.add_handler(service_changed)
        self._addresses.add_handler(address_changed)
        if self._default:
            enqueue(Key("", DEFAULT, SERVICE_CIDRS.kind))

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == SERVICES.kind:
            await self._ensure_addresses(key)
        elif key.kind == IP_ADDRESSES.kind:
            await self._check_address(key)
        else:
            return await self._sync_range(key)
        return None

    # -- addresses -----------------------------------------------------------------------------------------------

    async def _ensure_addresses(self, key: Key) -> None:
        service = self._services.get(key.name, key.namespace)
        if service is None or is_deleting(service):
            return
        for address in cluster_ips(service):
            if self._addresses.get(address) is None:
                try:
                    await self._client.create(IP_ADDRESSES, address_object(service, address))
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise

    async def _check_address(self, key: Key) -> None:
        """An address goes with its Service; those that others manage are left alone."""
        address = self._addresses.get(key.name)
        if address is None or labels_of(address).get(MANAGED_BY_LABEL) != ALLOCATOR:
            return
        parent = parent_of(address)
        if parent is None:
            return
        service = self._services.get(parent[1], parent[0])
        if service is None:
            try:
                # The cache of Services may be behind that of addresses.
                service = await self._client.get(SERVICES, parent[1], parent[0])
            except ApiError as error:
                if error.code != 404:
                    raise
        if service is not None and key.name in cluster_ips(service):
            return
        try:
            await self._client.delete(IP_ADDRESSES, key.name)
        except ApiError as error:
            if error.code != 404:
                raise

    # -- ranges --------------------------------------------------------------------------------------------------

    async def _sync_range(self, key: Key) -> float | None:
        found = self._ranges.get(key.name)
        if found is None:
            if key.name == DEFAULT and self._default:
                await self._create_default()
            return None
        if is_deleting(found):
            return await self._release(found)
        if FINALIZER not in finalizers_of(found):
            metadata = {**found["metadata"], "finalizers": [*finalizers_of(found), FINALIZER]}
            found = await self._client.update(SERVICE_CIDRS, {**found, "metadata": metadata})
        await self._report(found, "True", "", "Kubernetes Service CIDR is ready")
        return None

    async def _create_default(self) -> None:
        body = {"metadata": {"name": DEFAULT}, "spec": {"cidrs": self._default}}
        try:
            await self._client.create(SERVICE_CIDRS, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _release(self, found: Object) -> float | None:
        if FINALIZER not in finalizers_of(found):
            return None
        others = [entry for entry in self._ranges.list() if name_of(entry) != name_of(found)]
        if only_here(found, others, self._addresses.list()):
            await self._report(found, "False", "Terminating", IN_USE)
            return None
        finalizers = [entry for entry in finalizers_of(found) if entry != FINALIZER]
        await self._client.update(SERVICE_CIDRS, {**found, "metadata": {**found["metadata"], "finalizers": finalizers}})
        return None

    async def _report(self, found: Object, status: str, reason: str, message: str) -> None:
        condition: dict[str, Any] = {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        conditions = with_condition(conditions_of(found), condition)
        await write_status(
            self._client, SERVICE_CIDRS, found, {**(found.get("status") or {}), "conditions": conditions}
        )
