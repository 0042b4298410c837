"""Which pods of a ReplicaSet go first when there are too many: upstream's `ActivePodsWithRanks`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log2
from typing import Any

from twinplane.controlplane.controllers.pods import is_ready, phase_of, ready_since, restarts_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, created_at, uid_of

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def to_delete(pods: Sequence[Object], related: Sequence[Object], count: int, now: float) -> list[Object]:
    """The `count` pods that cost least. `related` are the pods of all ReplicaSets of the same owner."""
    if count >= len(pods):
        return list(pods)
    on_node = Counter(pod["spec"].get("nodeName", "") for pod in related)
    return sorted(pods, key=lambda pod: _rank(pod, on_node, now))[:count]


def _rank(pod: Object, on_node: Counter[str], now: float) -> tuple[Any, ...]:
    """Ascending: unbound, pending, not ready, cheap, crowded, briefly ready, often restarted, young."""
    node = pod["spec"].get("nodeName", "")
    since = ready_since(pod)
    return (
        bool(node),
        _PHASES.get(phase_of(pod), 0),
        is_ready(pod),
        deletion_cost(pod),
        -on_node[node],
        _age_class(since, now) if since is not None else 0,
        -restarts_of(pod),
        _age_class(created_at(pod), now),
        uid_of(pod),
    )


def deletion_cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_class(since: float, now: float) -> int:
    """Ages count by their order of magnitude, so that about equal pods go at random (here: by uid)."""
    if not since:
        return 0
    return int(log2(max(now - since, 0) + 1)) + 1
