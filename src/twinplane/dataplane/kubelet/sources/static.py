"""Static pods: manifests in a directory of the node, and their mirrors in the API server.

A static pod runs whether or not the API server knows of it; its mirror shows it there, and is made again when somebody
deletes it. Source: kubelet `config/file.go`, `config/common.go`, `pod/mirror_client.go`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from twinplane.clock import Clock, rfc3339
from twinplane.dataplane.kubelet.pods.spec import HASH_ANNOTATION, MIRROR_ANNOTATION, SEEN_ANNOTATION, SOURCE_ANNOTATION
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, copied, is_deleting, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PODS

log = logging.getLogger(__name__)

TOLERATE_ALL = {"operator": "Exists", "effect": "NoExecute"}
DEFAULTS = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "terminationGracePeriodSeconds": 30,
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
}


class StaticPods:
    """`read` says what the directory has now."""

    def __init__(self, directory: Path, node: str, clock: Clock) -> None:
        self._directory = directory
        self._node = node
        self._clock = clock
        self._read: dict[Path, tuple[tuple[int, int, int], Object | None]] = {}
        """By file, with inode, size and time of change."""

    def read(self) -> dict[str, Object]:
        """By uid. Files that cannot be understood are skipped, and logged once."""
        found: dict[Path, tuple[tuple[int, int, int], Object | None]] = {}
        for path in self._files():
            try:
                about = path.stat()
            except OSError:
                continue
            mark = (about.st_ino, about.st_size, about.st_mtime_ns)
            known = self._read.get(path)
            found[path] = known if known is not None and known[0] == mark else (mark, self._parse(path))
        self._read = found
        return {uid_of(pod): pod for _, pod in found.values() if pod is not None}

    def _files(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if path.is_file() and not path.name.startswith("."))

    def _parse(self, path: Path) -> Object | None:
        try:
            text = path.read_bytes()
            loaded = yaml.safe_load(text)
            if not isinstance(loaded, dict) or loaded.get("kind") != "Pod":
                raise ValueError("not a Pod")
            return static_pod(loaded, text, str(path), self._node, self._clock.now())
        except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
            log.warning("static pod %s: %s", path, error)
            return None


def static_pod(manifest: Object, text: bytes, path: str, node: str, now: float) -> Object:
    """Raises KeyError for one without a name or containers."""
    pod = copied(manifest)
    metadata: dict[str, Any] = pod["metadata"]
    if not metadata.get("uid"):
        digest = hashlib.md5(usedforsecurity=False)
        digest.update(text + f"host:{node}file:{path}".encode())
        metadata["uid"] = digest.hexdigest()
    metadata["name"] = f"{metadata['name']}-{node}".lower()
    metadata.setdefault("namespace", "default")
    annotations = metadata.setdefault("annotations", {}) or {}
    metadata["annotations"] = {
        **annotations,
        HASH_ANNOTATION: metadata["uid"],
        SEEN_ANNOTATION: rfc3339(now),
        SOURCE_ANNOTATION: "file",
    }
    pod["spec"] = {**DEFAULTS, **pod["spec"], "nodeName": node}
    pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or ()), TOLERATE_ALL]
    for container in pod["spec"]["containers"]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
    pod["status"] = {"phase": "Pending"}
    return pod


class Mirrors:
    """`node` gives the Node object as the API server has it, which owns its mirrors."""

    def __init__(self, client: KubeClient, node: Callable[[], Object | None]) -> None:
        self._client = client
        self._node = node

    async def ensure(self, pod: Object, mirror: Object | None) -> None:
        """Raises `ApiError` or OSError, to be tried again."""
        if mirror is not None:
            same = annotations_of(mirror).get(MIRROR_ANNOTATION) == uid_of(pod)
            if same and not is_deleting(mirror):
                return
            await self.delete(mirror)
        node = self._node()
        if node is None:
            return
        owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node), "controller": True}
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "labels") if pod["metadata"].get(key)}
        metadata["annotations"] = {**annotations_of(pod), MIRROR_ANNOTATION: uid_of(pod)}
        metadata["ownerReferences"] = [owner]
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
        try:
            await self._client.create(PODS, body, namespace_of(pod))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def delete(self, mirror: Object) -> None:
        try:
            await self._client.delete(
                PODS, name_of(mirror), namespace_of(mirror), grace_period_seconds=0, uid=uid_of(mirror)
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
