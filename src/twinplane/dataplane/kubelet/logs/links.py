"""The links in /var/log/containers, by which log agents (Fluent Bit, CloudWatch) find pod, namespace and container."""

from __future__ import annotations

from pathlib import Path

from twinplane.dataplane.kubelet.contract import CONTAINER_LOGS


def link_name(namespace: str, pod: str, container: str, container_id: str) -> str:
    return f"{pod}_{namespace}_{container}-{container_id}.log"


def is_linked(namespace: str, pod: str, container: str, container_id: str) -> bool:
    return (CONTAINER_LOGS / link_name(namespace, pod, container, container_id)).is_symlink()


def link(path: Path, namespace: str, pod: str, container: str, container_id: str) -> None:
    """Idempotent. Raises OSError."""
    target = CONTAINER_LOGS / link_name(namespace, pod, container, container_id)
    if target.is_symlink():
        return
    CONTAINER_LOGS.mkdir(parents=True, exist_ok=True)
    target.symlink_to(path)


def remove_dangling() -> None:
    """Links to logs that are gone."""
    try:
        links = [each for each in CONTAINER_LOGS.iterdir() if each.is_symlink()]
    except OSError:
        return
    for each in links:
        if not each.exists():
            each.unlink(missing_ok=True)
