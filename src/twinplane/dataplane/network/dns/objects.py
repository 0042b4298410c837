"""What the zone is made of, from informers: Services, EndpointSlices and namespaces with the indexes that lookups
need.
"""

from __future__ import annotations

from collections.abc import Iterable

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.informer_contract import Informers
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES

SERVICE_LABEL = "kubernetes.io/service-name"
_ADDRESS, _SERVICE = "dns/address", "dns/service"


class InformerObjects:
    """Implements `zone.Objects`."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(SERVICES)
        self._slices = informers.of(ENDPOINT_SLICES)
        self._namespaces = informers.of(NAMESPACES)
        self._services.add_index(_ADDRESS, _cluster_addresses)
        self._slices.add_index(_ADDRESS, _endpoint_addresses)
        self._slices.add_index(_SERVICE, _service)

    @property
    def synced(self) -> bool:
        return all(informer.synced for informer in (self._services, self._slices, self._namespaces))

    def service(self, namespace: str, name: str) -> Object | None:
        return self._services.get(name, namespace)

    def slices(self, namespace: str, service: str) -> list[Object]:
        return self._slices.by_index(_SERVICE, f"{namespace}/{service}")

    def services_at(self, address: str) -> list[Object]:
        return self._services.by_index(_ADDRESS, address)

    def slices_at(self, address: str) -> list[Object]:
        return self._slices.by_index(_ADDRESS, address)

    def has_namespace(self, name: str) -> bool:
        return self._namespaces.get(name) is not None


def _cluster_addresses(service: Object) -> Iterable[str]:
    spec = service["spec"]
    return [address for address in spec.get("clusterIPs") or [spec.get("clusterIP")] if address and address != "None"]


def _endpoint_addresses(slice_: Object) -> Iterable[str]:
    return [address for endpoint in slice_.get("endpoints") or () for address in endpoint.get("addresses") or ()]


def _service(slice_: Object) -> Iterable[str]:
    metadata = slice_["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_LABEL)
    return (f"{metadata['namespace']}/{name}",) if name else ()
