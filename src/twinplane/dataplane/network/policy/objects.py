"""Pods, namespaces and policies as enforcement needs them. `pod_of` and its like are transforms of informers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of

PARSED = "parsed"


class NamedPort(NamedTuple):
    name: str
    protocol: str
    number: int


class Pod(NamedTuple):
    """One that has an address of its own; pods on their node's network are no subject of policies."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    node: str
    ports: tuple[NamedPort, ...] = ()


class Policy(NamedTuple):
    namespace: str
    name: str
    spec: Mapping[str, Any]


def pod_of(body: Object) -> Object:
    return _kept(body, _pod(body))


def labels_of_namespace(body: Object) -> Object:
    return _kept(body, dict(labels_of(body)))


def policy_of(body: Object) -> Object:
    return _kept(body, Policy(namespace_of(body), name_of(body), body["spec"]))


def _kept(body: Object, parsed: object) -> Object:
    metadata = body["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": kept, PARSED: parsed}


def _pod(body: Object) -> Pod | None:
    spec, status = body["spec"], body.get("status") or {}
    address = status.get("podIP")
    if not address or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    ports = tuple(
        NamedPort(port["name"], str(port.get("protocol") or "TCP").lower(), int(port["containerPort"]))
        for container in containers
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return Pod(namespace_of(body), dict(labels_of(body)), str(address), str(spec.get("nodeName") or ""), ports)
