"""What the autoscaler measures, and where: the three metrics APIs, read through the API server.

`MetricsReader` is all that the rest of this folder knows of them. The lists of these APIs have no resourceVersion and
cannot be watched, so each is read as one document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, time_of
from twinplane.kubeclient.selectors import selector_of

POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", True)
CUSTOM = "custom.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
"""The first one that is served; what is read of them is the same."""
EXTERNAL = ("external.metrics.k8s.io", "v1beta1")
METRIC_WINDOW_SECONDS = 60.0
"""Over which a sample is taken, where the API does not say."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one pod: the value in thousandths, when it was taken (seconds since the epoch) and over how long."""

    value: int
    timestamp: float = 0.0
    window: float = METRIC_WINDOW_SECONDS


Samples = dict[str, Sample]
"""By name of the pod."""


class MetricsError(Exception):
    """The message goes into conditions and events."""


class _NotServed(MetricsError):
    """Nobody has this API, or not in this version."""


class MetricsReader(Protocol):
    """Every method raises `MetricsError`, also when there is nothing to return."""

    async def resource(self, namespace: str, selector: str, resource: str, container: str = "") -> Samples:
        """Usage of the selected pods: of one container, or of all containers that a pod has."""
        ...

    async def pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Samples: ...

    async def object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int: ...

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> list[int]: ...


class MetricsApi:
    """`resource_of` finds the resource of an apiVersion and a kind; it raises `ApiError`."""

    def __init__(self, client: KubeClient, resource_of: Callable[[str, str], Resource]) -> None:
        self._client = client
        self._resource_of = resource_of
        self._custom_version = CUSTOM_VERSIONS[0]

    async def resource(self, namespace: str, selector: str, resource: str, container: str = "") -> Samples:
        query = {"labelSelector": selector}
        items = await self._items("resource", POD_METRICS, "", namespace, subject="pods.metrics.k8s.io", query=query)
        found: Samples = {}
        for item in _some("resource", items):
            value = _usage(item, resource, container)
            if value is not None:
                window = go_seconds(item.get("window", "")) or METRIC_WINDOW_SECONDS
                found[name_of(item)] = Sample(value, time_of(item.get("timestamp")), window)
        return found

    async def pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Samples:
        items = await self._custom(namespace, Resource("", "v1", "pods", "Pod", True), "*", metric, selector)
        return {
            item["describedObject"]["name"]: Sample(
                quantity.milli(item["value"]),
                time_of(item.get("timestamp")),
                float(item.get("windowSeconds") or METRIC_WINDOW_SECONDS),
            )
            for item in _some("custom", items)
        }

    async def object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int:
        try:
            resource = self._resource_of(described.get("apiVersion", ""), described["kind"])
        except ApiError as error:
            raise MetricsError(f"unable to map object to resource: {error.message}") from error
        items = await self._custom(namespace, resource, described["name"], metric)
        if len(items) != 1:
            found = f"the custom metrics API server returned {len(items)} results when we asked for exactly one"
            raise MetricsError(f"{_unable('custom')}: {found}")
        return quantity.milli(items[0]["value"])

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> list[int]:
        resource = Resource(*EXTERNAL, metric["name"], "ExternalMetricValueList", True)
        query = {"labelSelector": _selector(metric)}
        items = await self._items(
            "external", resource, "", namespace, subject=f"{metric['name']}.{EXTERNAL[0]}", query=query
        )
        return [quantity.milli(item["value"]) for item in _some("external", items)]

    async def _custom(
        self, namespace: str, described: Resource, name: str, metric: Mapping[str, Any], selector: str = ""
    ) -> list[Object]:
        plural = f"{described.plural}.{described.group}" if described.group else described.plural
        scope: str | None = namespace
        tail = f"{name}/{metric['name']}"
        if (described.group, described.kind) == ("", "Namespace"):
            # Its own, whatever name is given: an autoscaler does not look out of its namespace.
            scope, plural, tail = None, f"namespaces/{namespace}", f"metrics/{metric['name']}"
        query = {"labelSelector": selector, "metricLabelSelector": _selector(metric)}
        resource = Resource(CUSTOM, self._custom_version, plural, "MetricValueList", described.namespaced)
        try:
            return await self._items("custom", resource, tail, scope, subject=f"{plural}.{CUSTOM}", query=query)
        except _NotServed:
            older = next(version for version in CUSTOM_VERSIONS if version != self._custom_version)
            found = await self._items(
                "custom", resource._replace(version=older), tail, scope, subject=f"{plural}.{CUSTOM}", query=query
            )
            self._custom_version = older
            return found

    async def _items(
        self,
        api: str,
        resource: Resource,
        name: str,
        namespace: str | None,
        *,
        subject: str,
        query: Mapping[str, str],
    ) -> list[Object]:
        try:
            answer = await self._client.get(resource, name, namespace, query=query)
        except ApiError as error:
            if error.code == 404 and not error.details:
                text = f"the server could not find the requested resource (get {subject})"
                raise _NotServed(f"{_unable(api)}: {text}") from error
            raise MetricsError(f"{_unable(api)}: {error.message}") from error
        return answer.get("items") or []


def _some(api: str, items: list[Object]) -> list[Object]:
    if not items:
        raise MetricsError(f"no metrics returned from {api} metrics API")
    return items


def _unable(api: str) -> str:
    return f"unable to fetch metrics from {api} metrics API"


def _selector(metric: Mapping[str, Any]) -> str:
    return str(selector_of(metric.get("selector") or {}))


def _usage(item: Object, resource: str, container: str) -> int | None:
    """None where a container that counts says nothing of the resource: half a pod is no sample."""
    total = 0
    seen = False
    for entry in item.get("containers") or []:
        if container and entry["name"] != container:
            continue
        if resource not in (entry.get("usage") or {}):
            return None
        seen = True
        total += quantity.milli(entry["usage"][resource])
    return total if seen else None


def go_seconds(text: str) -> float:
    """A Go duration such as `1m30s`; 0 for what is none."""
    total, number = 0.0, ""
    scale = {"h": 3600.0, "m": 60.0, "s": 1.0}
    for character in text:
        if character.isdigit() or character == ".":
            number += character
        elif character in scale and number:
            total, number = total + float(number) * scale[character], ""
        else:
            return 0.0
    return total
