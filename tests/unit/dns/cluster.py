"""A cluster's Services, EndpointSlices and namespaces for the zone, in a few lines each."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object


def service(name: str, namespace: str = "default", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": "None", **spec}}


def slice_of(service: str, *endpoints: dict[str, Any], namespace: str = "default", ports: Any = ()) -> Object:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"name": f"{service}-1", "namespace": namespace, "labels": labels},
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


class Cluster:
    """Implements `zone.Objects`."""

    def __init__(self, *objects: Object, namespaces: tuple[str, ...] = ("default", "kube-system")) -> None:
        self._services = [each for each in objects if "spec" in each]
        self._slices = [each for each in objects if "endpoints" in each]
        self._namespaces = namespaces

    def service(self, namespace: str, name: str) -> Object | None:
        wanted = {"name": name, "namespace": namespace}
        return next((each for each in self._services if each["metadata"] == wanted), None)

    def slices(self, namespace: str, service: str) -> list[Object]:
        labels = {"kubernetes.io/service-name": service}
        return [
            each
            for each in self._slices
            if each["metadata"]["namespace"] == namespace and each["metadata"]["labels"] == labels
        ]

    def services_at(self, address: str) -> list[Object]:
        return [each for each in self._services if each["spec"]["clusterIP"] == address]

    def slices_at(self, address: str) -> list[Object]:
        return [
            each for each in self._slices if any(address in endpoint["addresses"] for endpoint in each["endpoints"])
        ]

    def has_namespace(self, name: str) -> bool:
        return name in self._namespaces
