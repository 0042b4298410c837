"""ImageLocality: nodes that already have the pod's images score higher, scaled by how many nodes have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "ImageLocality"
MEBIBYTE = 1024 * 1024
SIZE_MIN = 23 * MEBIBYTE
SIZE_MAX_EACH = 1000 * MEBIBYTE


class ImageLocality(Check):
    scores = True

    def __init__(self, shape: PodShape, spread: Mapping[str, float]) -> None:
        counts = Counter(map(normalized, shape.images))
        self._wanted = tuple((name, share, counts[name]) for name, share in spread.items())
        self._size_max = SIZE_MAX_EACH * shape.container_count

    def score(self, node: NodeState) -> int:
        images = node.facts.images
        size = sum(int(images[name] * share) * count for name, share, count in self._wanted if name in images)
        size = min(max(size, SIZE_MIN), self._size_max)
        return SCORE_MAX * (size - SIZE_MIN) // (self._size_max - SIZE_MIN)


def normalized(image: str) -> str:
    """`nginx` is listed by nodes as `nginx:latest`."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    spread = {}
    for image in set(map(normalized, shape.images)):
        having = sum(image in node.facts.images for node in snapshot.nodes.values())
        if having:
            spread[image] = having / len(snapshot.nodes)
    return ImageLocality(shape, spread) if spread else None


PLUGIN = Plugin(NAME, Scope.FACTS, check)
