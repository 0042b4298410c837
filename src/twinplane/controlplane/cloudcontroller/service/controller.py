"""The service controller: Services of type LoadBalancer have a load balancer, and nobody else does."""

from __future__ import annotations

from collections.abc import Iterable

from twinplane.controlplane.cloudcontroller import nodes
from twinplane.controlplane.cloudcontroller.aws import AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.service.backends import Backend, Members, Result
from twinplane.controlplane.cloudcontroller.service.settings import Kind, Settings, kind_of, read
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, finalizers_of, is_deleting, labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, SERVICES

FINALIZERS: dict[Kind, str] = {
    "classic": "service.kubernetes.io/load-balancer-cleanup",
    "nlb": "service.kubernetes.io/load-balancer-cleanup",
    "external": "service.k8s.aws/resources",
}
SERVICE_LABEL = "kubernetes.io/service-name"
BY_SERVICE = "service"
LOAD_BALANCED = "load-balanced"


class ServiceController:
    name = "service-lb-controller"
    workers = 2

    def __init__(self, context: Context, backends: list[Backend]) -> None:
        self._client = context.client
        self._events = context.events
        self._services = context.informers.of(SERVICES)
        self._nodes = context.informers.of(NODES)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._backends = backends

    def watch(self, enqueue: Enqueue) -> None:
        def on_service(old: Object | None, new: Object | None) -> None:
            # Our own writes of status and finalizers come back here and need no look at AWS.
            if new is not None and _concerns(new) and (old is None or _view(old) != _view(new)):
                enqueue(_key(new))

        def on_node(old: Object | None, new: Object | None) -> None:
            if nodes.matters(old, new):
                for service in self._services.by_index(LOAD_BALANCED, "true"):
                    enqueue(_key(service))

        def on_slice(old: Object | None, new: Object | None) -> None:
            entry = new or old
            for name in _service_of(entry) if entry else ():
                service = self._services.get(name.rsplit("/", 1)[1], name.rsplit("/", 1)[0])
                if service is not None and kind_of(service) == "external":
                    enqueue(_key(service))

        self._services.add_index(LOAD_BALANCED, lambda service: ["true"] if _concerns(service) else [])
        self._slices.add_index(BY_SERVICE, _service_of)
        self._services.add_handler(on_service)
        self._nodes.add_handler(on_node)
        self._slices.add_handler(on_slice)

    async def reconcile(self, key: Key) -> float | None:
        service = self._services.get(key.name, key.namespace)
        if service is None or not _concerns(service):
            return None
        try:
            settings = None if is_deleting(service) else read(service)
            if settings is None:
                await self._remove(service)
            else:
                await self._ensure(service, settings)
        except (AwsError, Unbuildable) as error:
            what = "delete" if is_deleting(service) else "ensure"
            message = f"failed to {what} load balancer: {error}"
            self._events.event(service, "Warning", "SyncLoadBalancerFailed", f"Error syncing load balancer: {message}")
            raise ApiError("ServiceUnavailable", message) from error
        return None

    async def _ensure(self, service: Object, settings: Settings) -> None:
        await self._set_finalizers(service, {FINALIZERS[settings.kind]}, adding=True)
        if not _hostnames(service):
            self._events.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        for backend in self._backends:
            if backend.kind != settings.kind:
                await backend.remove(service)
        members = self._members(service, settings)
        if not members.instances and settings.target_type == "instance":
            message = "There are no available nodes for LoadBalancer"
            self._events.event(service, "Warning", "UnAvailableLoadBalancer", message)
        backend = next(backend for backend in self._backends if backend.kind == settings.kind)
        result = await backend.ensure(service, settings, members)
        await self._set_status(service, result.hostname)
        await self._set_finalizers(service, {FINALIZERS[settings.kind]}, adding=False)
        self._announce(service, result)

    def _announce(self, service: Object, result: Result) -> None:
        if not result.operations:
            return
        if result.only_membership and _hostnames(service):
            self._events.event(service, "Normal", "UpdatedLoadBalancer", "Updated load balancer with new hosts")
        else:
            self._events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")

    async def _remove(self, service: Object) -> None:
        self._events.event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        for backend in self._backends:
            await backend.remove(service)
        if not is_deleting(service):
            await self._set_status(service, "")
        self._events.event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
        await self._set_finalizers(service, set(), adding=False)

    def _members(self, service: Object, settings: Settings) -> Members:
        if settings.target_type == "ip":
            full_name = f"{namespace_of(service)}/{name_of(service)}"
            return Members(frozenset(), tuple(self._slices.by_index(BY_SERVICE, full_name)))
        wanted = settings.node_labels.items()
        present = (node for node in self._nodes.list() if nodes.receives(node))
        return Members(frozenset(nodes.instance_id(node) for node in present if wanted <= labels_of(node).items()))

    async def _set_status(self, service: Object, hostname: str) -> None:
        if _hostnames(service) == ([hostname] if hostname else []):
            return
        ingress = [{"hostname": hostname}] if hostname else None
        patch = {"status": {"loadBalancer": {"ingress": ingress}}}
        await self._client.patch(SERVICES, name_of(service), patch, namespace_of(service), subresource="status")

    async def _set_finalizers(self, service: Object, wanted: set[str], *, adding: bool) -> None:
        """`adding` leaves those of other kinds, whose load balancers are not yet gone."""
        present = (await self._client.get(SERVICES, name_of(service), namespace_of(service)))["metadata"]
        old = present.get("finalizers") or []
        new = [entry for entry in old if adding or entry in wanted or entry not in FINALIZERS.values()]
        new += sorted(wanted.difference(new))
        if new == old:
            return
        # With the version that was read, so that finalizers of others, set meanwhile, are not lost.
        patch = {"metadata": {"finalizers": new or None, "resourceVersion": present["resourceVersion"]}}
        await self._client.patch(SERVICES, name_of(service), patch, namespace_of(service))


def _concerns(service: Object) -> bool:
    if is_deleting(service) or kind_of(service) is None:
        return not set(FINALIZERS.values()).isdisjoint(finalizers_of(service))
    return True


def _view(service: Object) -> object:
    return service.get("spec"), annotations_of(service), is_deleting(service)


def _hostnames(service: Object) -> list[str]:
    ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
    return [entry.get("hostname", "") for entry in ingress]


def _key(obj: Object) -> Key:
    return Key(namespace_of(obj), name_of(obj))


def _service_of(entry: Object) -> Iterable[str]:
    name = labels_of(entry).get(SERVICE_LABEL)
    return [f"{namespace_of(entry)}/{name}"] if name else []
