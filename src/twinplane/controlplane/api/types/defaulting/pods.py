"""Defaults of pods and containers that depend on what else the pod says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Value = dict[str, Any]

CONTAINER_LISTS = ("initContainers", "containers")
_NO_SOURCE = frozenset({"name"})


def containers_of(spec: Value) -> Iterator[Value]:
    """Init containers and containers; ephemeral ones take no part in resources and ports."""
    for field in CONTAINER_LISTS:
        yield from spec.get(field) or ()


def default_pod(pod: Value) -> None:
    """What holds for a Pod itself but not for a pod template."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    host_network = spec.get("hostNetwork")
    for container in containers_of(spec):
        _requests_from_limits(container)
        if host_network:
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    _pod_requests_from_limits(spec)


def _requests_from_limits(container: Value) -> None:
    resources = container.get("resources")
    limits = resources.get("limits") if resources else None
    if resources and limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _pod_requests_from_limits(spec: Value) -> None:
    resources = spec.get("resources")
    limits = resources.get("limits") if resources else None
    if resources and limits:
        requests = resources.setdefault("requests", {})
        for name, limit in limits.items():
            if name in ("cpu", "memory") or name.startswith("hugepages-"):
                requests.setdefault(name, limit)


def default_pod_spec(spec: Value) -> None:
    """The deprecated `serviceAccount` always mirrors `serviceAccountName`."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_container(container: Value) -> None:
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))


def pull_policy(image: str) -> str:
    """Always for `latest` or no tag at all, unless a digest pins the image."""
    name, at, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if tag == "latest" or not (colon or at):
        return "Always"
    return "IfNotPresent"


def default_volume(volume: Value) -> None:
    if volume.keys() <= _NO_SOURCE:
        volume["emptyDir"] = {}


def default_image_volume(source: Value) -> None:
    if "pullPolicy" not in source:
        source["pullPolicy"] = pull_policy(source.get("reference", ""))


SETTERS: dict[str, Callable[[Value], None]] = {
    "core.v1.Pod": default_pod,
    "core.v1.PodSpec": default_pod_spec,
    "core.v1.Container": default_container,
    "core.v1.EphemeralContainer": default_container,
    "core.v1.Volume": default_volume,
    "core.v1.ImageVolumeSource": default_image_volume,
}
