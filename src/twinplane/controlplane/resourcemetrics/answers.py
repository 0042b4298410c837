"""The API of `metrics.k8s.io`: get and list of nodes and pods. The aggregator hands over requests that are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from twinplane.clock import Clock
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.api.runtime import KubeletDialer
from twinplane.controlplane.api.selectors import parse_field_selector, parse_label_selector
from twinplane.controlplane.api.views import negotiate, partial_metadata
from twinplane.controlplane.resourcemetrics import rendering
from twinplane.controlplane.resourcemetrics.bootstrap import GROUP
from twinplane.controlplane.resourcemetrics.sampling import NOTHING, Samples
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, not_found
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import NODES, PODS

_KINDS = {"nodes": "NodeMetrics", "pods": "PodMetrics"}


class ResourceMetrics:
    """Implements the aggregator's `OwnGroup`."""

    resources = rendering.RESOURCES

    def __init__(self, reader: ObjectReader, kubelet: KubeletDialer, clock: Clock) -> None:
        self._reader = reader
        self._samples = Samples(kubelet, clock)

    async def close(self) -> None:
        await self._samples.close()

    async def answer(self, request: Request, route: Route) -> Response:
        """Raises `ApiError`."""
        if not route.is_resource:
            return Response(200, orjson.dumps(self.resources))
        kind = _KINDS.get(route.resource)
        if kind is None or route.subresource or (route.resource == "nodes" and route.namespace):
            raise ApiError("NotFound", "the server could not find the requested resource", details={})
        if route.verb not in ("get", "list"):
            raise ApiError("MethodNotAllowed", "the server does not allow this method on the requested resource")
        items = await (self._nodes(request, route) if route.resource == "nodes" else self._pods(request, route))
        if route.verb == "get" and not items:
            name = f"{route.namespace}/{route.name}" if route.namespace else route.name
            raise not_found(GROUP, kind.lower(), name)
        return _shown(request, kind, items, single=route.verb == "get")

    async def _nodes(self, request: Request, route: Route) -> list[Object]:
        nodes = self._selected(NODES, request, route)
        samples = await self._samples.of(nodes)
        usages = ((node, samples[name_of(node)].usage) for node in nodes)
        return [rendering.node_metrics(node, usage) for node, usage in usages if usage is not None]

    async def _pods(self, request: Request, route: Route) -> list[Object]:
        """Of pods that run: the others use nothing."""
        running = {}
        for pod in self._selected(PODS, request, route):
            if (pod.get("status") or {}).get("phase") == "Running":
                running[namespace_of(pod), name_of(pod)] = pod
        names = sorted({pod["spec"]["nodeName"] for pod in running.values() if pod["spec"].get("nodeName")})
        nodes = [node for name in names if (node := self._reader.get(NODES, name)) is not None]
        samples = await self._samples.of(nodes)
        found = []
        for key, pod in running.items():
            containers = samples.get(pod["spec"].get("nodeName", ""), NOTHING).pods.get(key)
            if containers:
                found.append(rendering.pod_metrics(pod, containers))
        return found

    def _selected(self, resource: Resource, request: Request, route: Route) -> list[Object]:
        if route.verb == "get":
            found = self._reader.get(resource, route.name, route.namespace)
            return [] if found is None else [found]
        labels = parse_label_selector(request.query.get("labelSelector", ""))
        fields = parse_field_selector(request.query.get("fieldSelector", ""))
        return [
            each
            for each in self._reader.list(resource, route.namespace)
            if labels.matches(labels_of(each)) and fields.matches(_fields(each))
        ]


def _fields(body: Object) -> Mapping[str, str]:
    return {"metadata.name": name_of(body), "metadata.namespace": namespace_of(body)}


def _shown(request: Request, kind: str, items: Sequence[Object], *, single: bool) -> Response:
    accepted = negotiate(request.headers.get("accept", ""), protobuf=False)
    if accepted.shape == "table":
        include = request.query.get("includeObject", "Metadata")
        return Response(200, orjson.dumps(rendering.table(items, include)))
    if accepted.shape == "metadata":
        version = accepted.meta_version
        items = [partial_metadata(item, version) for item in items]
        whole = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{version}", "metadata": {}}
        return Response(200, orjson.dumps(items[0] if single else whole | {"items": items}))
    return Response(200, orjson.dumps(items[0] if single else rendering.listed(kind, items)))
