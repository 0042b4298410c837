"""Defaults of services, secrets, namespaces and other core types that depend on neighbouring fields."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

Value = dict[str, Any]
CLIENT_IP_TIMEOUT = 10800


def default_service(spec: Value) -> None:
    kind = spec.setdefault("type", "ClusterIP")
    if spec.get("sessionAffinity") == "ClientIP":
        configuration = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        configuration.setdefault("timeoutSeconds", CLIENT_IP_TIMEOUT)
    elif spec.get("sessionAffinity", "None") == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def default_secret(secret: Value) -> None:
    """`stringData` is write-only: it becomes `data` and is never seen again."""
    texts = secret.pop("stringData", None)
    if texts:
        data = secret.setdefault("data", {})
        for key, text in texts.items():
            data[key] = base64.b64encode(text.encode()).decode()


def default_namespace(namespace: Value) -> None:
    metadata = namespace.get("metadata") or {}
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def default_node_status(status: Value) -> None:
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(status["capacity"])


def default_replication_controller(controller: Value) -> None:
    spec = controller.setdefault("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        controller.setdefault("metadata", {}).setdefault("labels", dict(labels))


def default_limit(item: Value) -> None:
    if item.get("type") != "Container":
        return
    defaults = item.setdefault("default", {})
    requests = item.setdefault("defaultRequest", {})
    for name, quantity in (item.get("max") or {}).items():
        defaults.setdefault(name, quantity)
    for name, quantity in defaults.items():
        requests.setdefault(name, quantity)
    for name, quantity in (item.get("min") or {}).items():
        requests.setdefault(name, quantity)
    for field in ("default", "defaultRequest"):
        if not item[field]:
            del item[field]


SETTERS: dict[str, Callable[[Value], None]] = {
    "core.v1.ServiceSpec": default_service,
    "core.v1.Secret": default_secret,
    "core.v1.Namespace": default_namespace,
    "core.v1.NodeStatus": default_node_status,
    "core.v1.ReplicationController": default_replication_controller,
    "core.v1.LimitRangeItem": default_limit,
}
