"""What is garbage. Pure: CRI's lists in, ids out (kubelet `kuberuntime_gc.go`, `images/image_gc_manager.go`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cri_api.v1 import api_pb2 as cri

CONTAINERS_KEPT = 1
"""Dead instances of a container of a pod that still exists: `kubectl logs --previous` needs the last."""
UID_LABEL = "io.kubernetes.pod.uid"


def dead_containers(
    containers: Iterable[cri.Container], pods: Collection[str] | None, *, all_dead: bool = False
) -> list[str]:
    """Ids to remove. `pods` are the UIDs that exist, None while they are not known: then all pods count as existing."""
    dead: dict[tuple[str, str], list[cri.Container]] = defaultdict(list)
    for item in containers:
        if item.state not in (cri.CONTAINER_RUNNING, cri.CONTAINER_CREATED):
            dead[(item.labels.get(UID_LABEL, ""), item.metadata.name)].append(item)
    found = []
    for (uid, _), items in dead.items():
        is_gone = pods is not None and uid not in pods
        newest_first = sorted(items, key=lambda item: (item.created_at, item.metadata.attempt), reverse=True)
        found += [item.id for item in newest_first[0 if is_gone or all_dead else CONTAINERS_KEPT :]]
    return found


def dead_sandboxes(
    sandboxes: Iterable[cri.PodSandbox], containers: Iterable[cri.Container], pods: Collection[str] | None
) -> list[str]:
    """Those that are not ready and have no container: all of pods that are gone, all but the newest of others."""
    occupied = {item.pod_sandbox_id for item in containers}
    of_pod: dict[str, list[cri.PodSandbox]] = defaultdict(list)
    for sandbox in sandboxes:
        of_pod[sandbox.metadata.uid].append(sandbox)
    found = []
    for uid, items in of_pod.items():
        is_gone = pods is not None and uid not in pods
        newest_first = sorted(items, key=lambda item: item.created_at, reverse=True)
        found += [
            item.id
            for item in newest_first[0 if is_gone else 1 :]
            if item.state != cri.SANDBOX_READY and item.id not in occupied
        ]
    return found


@dataclass(slots=True)
class ImageRecord:
    first_seen: float
    last_used: float
    size: int
    pinned: bool = False


@dataclass(slots=True)
class ImageRecords:
    """What is remembered of each image: since when it is here, and when a container last used it."""

    by_id: dict[str, ImageRecord] = field(default_factory=dict)

    def observe(self, images: Iterable[cri.Image], used: Collection[str], now: float) -> None:
        seen = set()
        for image in images:
            seen.add(image.id)
            record = self.by_id.setdefault(image.id, ImageRecord(now, 0.0, 0))
            record.size, record.pinned = image.size, bool(getattr(image, "pinned", False))
            if image.id in used:
                record.last_used = now
        for gone in self.by_id.keys() - seen:
            del self.by_id[gone]

    def unused(self, used: Collection[str], now: float, minimum_age: float) -> list[str]:
        """In the order in which they go: longest unused first."""
        candidates = [
            (record.last_used, record.first_seen, image)
            for image, record in self.by_id.items()
            if image not in used and not record.pinned and now - record.first_seen >= minimum_age
        ]
        return [image for _, _, image in sorted(candidates)]

    def older(self, used: Collection[str], now: float, maximum_age: float) -> list[str]:
        """Unused for longer than `imageMaximumGCAge`."""
        return [image for image in self.unused(used, now, 0.0) if now - self._idle_since(image) > maximum_age]

    def _idle_since(self, image: str) -> float:
        record = self.by_id[image]
        return record.last_used or record.first_seen


def used_images(
    images: Iterable[cri.Image], containers: Iterable[cri.Container], always: Collection[str] = ()
) -> set[str]:
    """Ids of the images that a container, running or not, was made of, and of those named in `always` (the pause)."""
    ids: Mapping[str, str] = {
        name: image.id for image in images for name in (image.id, *image.repo_tags, *image.repo_digests)
    }
    named = {name for item in containers for name in (item.image_ref, item.image.image)}
    return {ids.get(name, name) for name in (*named, *always)}


def bytes_to_free(capacity: int, available: int, *, high_percent: int, low_percent: int) -> int:
    """0 below the high threshold."""
    if capacity <= 0 or 100 - available * 100 // capacity < high_percent:
        return 0
    return max(capacity * (100 - low_percent) // 100 - available, 0)
