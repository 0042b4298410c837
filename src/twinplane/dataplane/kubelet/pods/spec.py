"""The few questions that every part of the kubelet asks of a pod's spec. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, name_of, namespace_of, uid_of

Container = dict[str, Any]
Kind = Literal["init", "sidecar", "main", "ephemeral"]

SOURCE_ANNOTATION = "kubernetes.io/config.source"
HASH_ANNOTATION = "kubernetes.io/config.hash"
SEEN_ANNOTATION = "kubernetes.io/config.seen"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
DEFAULT_GRACE_SECONDS = 30
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def containers_of(pod: Object) -> list[Container]:
    return pod["spec"].get("containers") or []


def init_containers_of(pod: Object) -> list[Container]:
    """Sidecars among them."""
    return pod["spec"].get("initContainers") or []


def ephemeral_containers_of(pod: Object) -> list[Container]:
    return pod["spec"].get("ephemeralContainers") or []


def all_containers(pod: Object) -> Iterator[tuple[Kind, Container]]:
    for container in init_containers_of(pod):
        yield ("sidecar" if is_sidecar(container) else "init"), container
    for container in containers_of(pod):
        yield "main", container
    for container in ephemeral_containers_of(pod):
        yield "ephemeral", container


def is_sidecar(container: Container) -> bool:
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: Object) -> str:
    return pod["spec"].get("restartPolicy") or "Always"


def should_restart(pod: Object, container: Container, code: int) -> bool:
    """Whether a container that ended with this code is to run again: by its own rules, its own policy or the pod's
    (upstream's `ContainerShouldRestart`)."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or ())) == (codes.get("operator", "In") == "In"):
            return bool((rule.get("action") or "Restart") == "Restart")
    policy = container.get("restartPolicy") or restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def is_host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def is_static(pod: Object) -> bool:
    return annotations_of(pod).get(SOURCE_ANNOTATION, "api") not in ("api", "")


def is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in annotations_of(pod)


def is_critical(pod: Object) -> bool:
    """What is killed last: static pods and those of the system's priority classes."""
    return is_static(pod) or int(pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def grace_seconds(pod: Object) -> int:
    """Of a deletion that is under way, or what the spec gives. At least 0."""
    metadata = pod["metadata"]
    if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds") is not None:
        return max(int(metadata["deletionGracePeriodSeconds"]), 0)
    grace = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_SECONDS if grace is None else max(int(grace), 0)


def full_name(pod: Object) -> str:
    """`NAME_NAMESPACE(UID)`: how messages name a pod."""
    return f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"


def is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
