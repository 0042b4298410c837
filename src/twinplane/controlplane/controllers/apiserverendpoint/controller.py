"""The Service `kubernetes` in `default`: how pods reach the API server, kept against accidental deletion.

In upstream the API server itself does this (pkg/controlplane/controller/kubernetesservice and the endpoint reconciler).
Options: `advertise-addresses` (comma-separated), `advertise-port` (443), `kubernetes-service-ip`; without an address
nothing is published.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer_contract import Handler, Informer
from twinplane.kubeclient.meta import name_of, namespace_of
from twinplane.kubeclient.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES

NAME = "kubernetes"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}
_SKIP_MIRROR = {"endpointslice.kubernetes.io/skip-mirror": "true"}
_KEY = Key("default", NAME)


class ApiServerEndpoint:
    name = "kubernetes-service"
    workers = 1

    def __init__(self, context: Context) -> None:
        options = context.options
        self._client: KubeClient = context.client
        self._addresses = [each for each in options.get("advertise-addresses", "").split(",") if each]
        self._port = int(options.get("advertise-port", "443"))
        self._service_ip = options.get("kubernetes-service-ip", "")
        self._informers: dict[Resource, Informer] = {
            resource: context.informers.of(resource) for resource in (SERVICES, ENDPOINTS, ENDPOINT_SLICES)
        }

    def watch(self, enqueue: Enqueue) -> None:
        for informer in self._informers.values():
            informer.add_handler(_handler(enqueue))
        enqueue(_KEY)

    async def reconcile(self, key: Key) -> float | None:
        if not self._addresses:
            return None
        for resource, wanted in self._wanted().items():
            existing = self._informers[resource].get(NAME, "default")
            if existing is None:
                await self._create(resource, wanted)
            elif any(existing.get(field) != value for field, value in wanted.items() if field not in _KEPT):
                await self._client.update(resource, {**existing, **{f: v for f, v in wanted.items() if f not in _KEPT}})
        return None

    def _wanted(self) -> dict[Resource, Object]:
        port = {"name": "https", "port": self._port, "protocol": "TCP"}
        spec: dict[str, Any] = {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": self._port}],
        }
        if self._service_ip:
            spec |= {"clusterIP": self._service_ip, "clusterIPs": [self._service_ip]}
        family = "IPv6" if ":" in self._addresses[0] else "IPv4"
        return {
            SERVICES: {"metadata": _metadata(_LABELS), "spec": spec},
            ENDPOINTS: {
                "metadata": _metadata(_SKIP_MIRROR),
                "subsets": [{"addresses": [{"ip": each} for each in self._addresses], "ports": [port]}],
            },
            ENDPOINT_SLICES: {
                "metadata": _metadata({"kubernetes.io/service-name": NAME}),
                "addressType": family,
                "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in self._addresses],
                "ports": [port],
            },
        }

    async def _create(self, resource: Resource, body: Object) -> None:
        try:
            await self._client.create(resource, body, "default")
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise


_KEPT = ("metadata", "spec")
"""What is not corrected: a Service's ports and address cannot sensibly be taken over by anybody else."""


def _metadata(labels: dict[str, str]) -> dict[str, Any]:
    return {"name": NAME, "namespace": "default", "labels": dict(labels)}


def _handler(enqueue: Enqueue) -> Handler:
    def changed(old: Object | None, new: Object | None) -> None:
        body = new or old
        assert body is not None
        if name_of(body) == NAME and namespace_of(body) == "default":
            enqueue(_KEY)

    return changed
