"""What a StatefulSet does next. Pure.

With `OrderedReady` at most one thing at a time: each pod waits until all before it are healthy, and goes when all after
it are gone. With `Parallel` everything at once, except updates, which still go one by one from the highest ordinal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.controlplane.controllers.int_or_percent import scaled
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.controlplane.controllers.statefulset.identity import (
    first_ordinal,
    is_available_pod,
    is_created,
    is_running_and_ready,
    revision_of,
)
from twinplane.controlplane.controllers.status import without_zeros
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting


@dataclass
class Plan:
    create: list[int] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    recreate: list[Object] = field(default_factory=list)
    """Failed or finished pods: deleted, and made again when they are gone."""


@dataclass(frozen=True)
class View:
    """`current` and `update` are names of revisions; `pods` is by ordinal."""

    stateful_set: Object
    pods: Mapping[int, Object]
    current: str
    update: str
    now: float

    @property
    def wanted(self) -> range:
        start = first_ordinal(self.stateful_set)
        return range(start, start + int(self.stateful_set["spec"].get("replicas", 1)))

    @property
    def condemned(self) -> list[int]:
        """Highest first."""
        return sorted((ordinal for ordinal in self.pods if ordinal not in self.wanted), reverse=True)

    @property
    def ordered(self) -> bool:
        return bool(self.stateful_set["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel")

    @property
    def rolling(self) -> bool:
        strategy = self.stateful_set["spec"].get("updateStrategy") or {}
        return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")

    @property
    def partition(self) -> int:
        """Ordinals below it keep the current revision."""
        strategy = self.stateful_set["spec"].get("updateStrategy") or {}
        return self.wanted.start + int((strategy.get("rollingUpdate") or {}).get("partition") or 0)

    @property
    def max_unavailable(self) -> int | None:
        """None where the set does not say."""
        strategy = (self.stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        given = strategy.get("maxUnavailable")
        return None if given is None else max(1, scaled(given, len(self.wanted), round_up=False))

    def available(self, pod: Object) -> bool:
        return is_available_pod(self.stateful_set, pod, self.now)

    def revision_for(self, ordinal: int) -> str:
        """Of a pod that is to be made now."""
        return self.current if self.rolling and ordinal < self.partition else self.update


def planned(view: View) -> Plan:
    plan = Plan()
    if _fill(view, plan) and _thin_out(view, plan) and view.rolling:
        _update(view, plan)
    return plan


def _fill(view: View, plan: Plan) -> bool:
    """Make what is missing; False while something has to be waited for."""
    for ordinal in view.wanted:
        pod = view.pods.get(ordinal)
        if pod is not None and is_terminal(pod) and not is_deleting(pod):
            plan.recreate.append(pod)
        elif pod is None:
            plan.create.append(ordinal)
        elif view.available(pod):
            continue
        if view.ordered:
            return False
    return True


def _thin_out(view: View, plan: Plan) -> bool:
    lost = sorted(ordinal for ordinal, pod in view.pods.items() if not view.available(pod))
    for ordinal in view.condemned:
        pod = view.pods[ordinal]
        if is_deleting(pod):
            if view.ordered:
                return False
            continue
        if view.ordered and lost and lost[0] != ordinal and ordinal in lost:
            return False
        plan.delete.append(pod)
        if view.ordered:
            return False
    return True


def _update(view: View, plan: Plan) -> None:
    """Pods of another revision, from the highest ordinal down: one, or as many as may be unavailable.

    Without `maxUnavailable` only the pods above the next one have to be available, as upstream without its gate
    MaxUnavailableStatefulSet; with it all pods count, as upstream with that gate.
    """

    def is_lost(ordinal: int) -> bool:
        pod = view.pods.get(ordinal)
        return pod is None or pod in plan.recreate or not view.available(pod)

    room = 1 if view.max_unavailable is None else view.max_unavailable - sum(map(is_lost, view.wanted))
    for ordinal in reversed(view.wanted):
        if ordinal < view.partition or room <= 0:
            return
        pod = view.pods.get(ordinal)
        leaves = pod is None or is_deleting(pod) or pod in plan.recreate
        if pod is not None and not leaves and revision_of(pod) != view.update:
            plan.delete.append(pod)
            room -= 1
        elif view.max_unavailable is None and is_lost(ordinal):
            return


def status_of(view: View, current_name: str, update_name: str) -> dict[str, Any]:
    """`current_name` and `update_name` are the names of the ControllerRevisions."""
    pods = list(view.pods.values())
    created = [pod for pod in pods if is_created(pod)]
    staying = [pod for pod in created if not is_deleting(pod)]
    status = {
        "observedGeneration": view.stateful_set["metadata"].get("generation", 0),
        "replicas": len(created),
        "readyReplicas": sum(is_running_and_ready(pod) for pod in pods),
        "availableReplicas": sum(view.available(pod) for pod in pods),
        "currentReplicas": sum(revision_of(pod) == view.current for pod in staying),
        "updatedReplicas": sum(revision_of(pod) == view.update for pod in staying),
        "currentRevision": current_name,
        "updateRevision": update_name,
        "collisionCount": (view.stateful_set.get("status") or {}).get("collisionCount", 0),
    }
    wanted = len(view.wanted)
    counts = (status["updatedReplicas"], status["readyReplicas"], status["replicas"])
    if view.rolling and all(count == wanted for count in counts):
        status["currentRevision"] = update_name
        status["currentReplicas"] = status["updatedReplicas"]
    return without_zeros(status, "replicas", "availableReplicas", "collisionCount")
