"""NodeMetrics and PodMetrics: objects, lists and tables as metrics-server writes them, and discovery. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.resourcemetrics.bootstrap import GROUP, VERSION
from twinplane.controlplane.resourcemetrics.sampling import Usage
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of

API_VERSION = f"{GROUP}/{VERSION}"
WINDOW = "10s"
"""Over which kubelets work out their rates: cAdvisor's housekeeping interval."""


def node_metrics(node: Object, usage: Usage) -> Object:
    return _described("NodeMetrics", node, usage.at) | {"usage": _quantities(usage)}


def pod_metrics(pod: Object, containers: Mapping[str, Usage]) -> Object:
    at = min(usage.at for usage in containers.values())
    shown = [{"name": name, "usage": _quantities(usage)} for name, usage in containers.items()]
    return _described("PodMetrics", pod, at) | {"containers": shown}


def _described(kind: str, subject: Object, at: float) -> Object:
    metadata: dict[str, Any] = {"name": name_of(subject)}
    if namespace_of(subject):
        metadata["namespace"] = namespace_of(subject)
    metadata["creationTimestamp"] = rfc3339(at)
    if labels_of(subject):
        metadata["labels"] = labels_of(subject)
    return {
        "kind": kind,
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "timestamp": rfc3339(at),
        "window": WINDOW,
    }


def _quantities(usage: Usage) -> dict[str, str]:
    return {"cpu": f"{usage.cpu}n" if usage.cpu else "0", "memory": f"{usage.memory // 1024}Ki"}


def listed(kind: str, items: Sequence[Object]) -> Object:
    return {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": list(items)}


def table(items: Sequence[Object], include_object: str) -> Object:
    """The columns of metrics-server's: what all containers of a pod use together."""
    columns = (("Name", "name"), ("cpu", ""), ("memory", ""), ("Window", ""))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [
            {"name": name, "type": "string", "format": shape, "description": "", "priority": 0}
            for name, shape in columns
        ],
        "rows": [_row(item, include_object) for item in items],
    }


def _row(item: Object, include_object: str) -> Object:
    usages = [entry["usage"] for entry in item.get("containers") or [item]]
    cpu = sum(int(usage["cpu"].rstrip("n")) for usage in usages)
    memory = sum(int(usage["memory"].removesuffix("Ki")) for usage in usages)
    row: Object = {"cells": [name_of(item), f"{cpu}n" if cpu else "0", f"{memory}Ki", item["window"]]}
    if include_object == "Metadata":
        metadata = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
        return row | {"object": metadata}
    return row | ({"object": item} if include_object == "Object" else {})


def _resource(plural: str, kind: str, *, namespaced: bool) -> Object:
    return {"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}


RESOURCES: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": API_VERSION,
    "resources": [
        _resource("nodes", "NodeMetrics", namespaced=False),
        _resource("pods", "PodMetrics", namespaced=True),
    ],
}
