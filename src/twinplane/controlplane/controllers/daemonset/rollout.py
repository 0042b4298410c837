"""What a DaemonSet does next: pods to make, pods to delete, and its status. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.daemonset.placement import Fit
from twinplane.controlplane.controllers.int_or_percent import scaled
from twinplane.controlplane.controllers.pods import is_available, is_ready, is_terminal
from twinplane.controlplane.controllers.revisions import HASH_LABEL
from twinplane.controlplane.controllers.status import without_zeros
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, labels_of


@dataclass
class Plan:
    create: list[str] = field(default_factory=list)
    """Names of nodes."""
    delete: list[Object] = field(default_factory=list)
    finished: list[Object] = field(default_factory=list)
    """Pods that ended, to be replaced: with back-off."""


@dataclass(frozen=True)
class View:
    """One look at a DaemonSet: `pods` by node, oldest first; `fits` of all nodes that are there."""

    daemon_set: Object
    hash: str
    fits: Mapping[str, Fit]
    pods: Mapping[str, Sequence[Object]]
    now: float

    @property
    def min_ready(self) -> int:
        return int(self.daemon_set["spec"].get("minReadySeconds", 0))

    def is_new(self, pod: Object) -> bool:
        return labels_of(pod).get(HASH_LABEL) == self.hash

    def available(self, pod: Object) -> bool:
        return not is_deleting(pod) and is_available(pod, self.min_ready, self.now)

    @property
    def wanted(self) -> int:
        return sum(fit.run for fit in self.fits.values())

    def limit(self, name: str, default: int) -> int:
        """maxSurge or maxUnavailable of the rolling update."""
        strategy = self.daemon_set["spec"].get("updateStrategy") or {}
        return scaled((strategy.get("rollingUpdate") or {}).get(name, default), self.wanted, round_up=True)

    @property
    def surge(self) -> int:
        return self.limit("maxSurge", 0) if is_rolling(self.daemon_set) else 0

    @property
    def surges(self) -> bool:
        """Whether it may, however many nodes there are."""
        strategy = (self.daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        return is_rolling(self.daemon_set) and scaled(strategy.get("maxSurge", 0), 1, round_up=True) > 0

    @property
    def max_unavailable(self) -> int:
        """Never 0 where there is no surge either: nothing could ever be updated."""
        return self.limit("maxUnavailable", 1) or (0 if self.surge else 1)

    @property
    def considered(self) -> list[str]:
        """The nodes of an update: those that have a pod, and those that should."""
        wanted = [node for node, fit in self.fits.items() if fit.run and node not in self.pods]
        return [*(node for node in self.pods if node), *wanted]


def is_rolling(daemon_set: Object) -> bool:
    return bool((daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def manage(view: View) -> Plan:
    """One pod on each node that fits, none elsewhere."""
    plan = Plan()
    for node, fit in view.fits.items():
        pods = view.pods.get(node, ())
        if not pods:
            if fit.run:
                plan.create.append(node)
        elif not fit.stay:
            plan.delete += [pod for pod in pods if not is_deleting(pod)]
        else:
            _thin_out(view, node, pods, plan)
    for node in view.pods.keys() - view.fits.keys():
        # Nobody will ever bind a pod to a node that is gone; one that was bound to it is collected as garbage.
        plan.delete += [pod for pod in view.pods[node] if not pod["spec"].get("nodeName") and not is_deleting(pod)]
    return plan


def _thin_out(view: View, node: str, pods: Sequence[Object], plan: Plan) -> None:
    plan.finished += [pod for pod in pods if is_terminal(pod) and not is_deleting(pod)]
    living = [pod for pod in pods if not is_terminal(pod) and not is_deleting(pod)]
    if not view.surges:
        plan.delete += living[1:]
        return
    if not living and view.fits[node].run:
        # What is on its way out need not be waited for.
        plan.create.append(node)
    # While surging an old pod may stand beside a new one, until the new one is available or the old one fails.
    new = [pod for pod in living if view.is_new(pod)]
    old = [pod for pod in living if not view.is_new(pod)]
    plan.delete += new[1:] + old[1:]
    if new and old and (not is_ready(old[0]) or view.available(new[0])):
        plan.delete.append(old[0])


class _Pair(NamedTuple):
    """Of a node, without pods that are being deleted."""

    new: Object | None
    old: Object | None


def _pair(view: View, pods: Sequence[Object]) -> _Pair | None:
    """None where there are several of a kind: `manage` sees to that."""
    living = [pod for pod in pods if not is_deleting(pod)]
    if len(living) == 1:
        # So it is on nearly every node.
        return _Pair(living[0], None) if view.is_new(living[0]) else _Pair(None, living[0])
    new = [pod for pod in living if view.is_new(pod)]
    old = [pod for pod in living if not view.is_new(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return _Pair(new[0] if new else None, old[0] if old else None)


def roll(view: View) -> Plan:
    """The next step of a rolling update."""
    return _roll_by_surge(view) if view.surge else _roll_by_deletion(view)


def _roll_by_deletion(view: View) -> Plan:
    plan = Plan()
    unavailable = 0
    candidates: list[Object] = []
    for node in view.considered:
        found = _pair(view, view.pods.get(node, ()))
        if found is None or (found.new is None) == (found.old is None):
            unavailable += 1
        elif found.new is not None:
            unavailable += not view.available(found.new)
        elif found.old is not None and not view.available(found.old):
            # Nothing is lost by replacing what does not work.
            plan.delete.append(found.old)
            unavailable += 1
        elif found.old is not None:
            candidates.append(found.old)
    plan.delete += candidates[: max(0, view.max_unavailable - unavailable)]
    return plan


def _roll_by_surge(view: View) -> Plan:
    """Nodes from which the pods are to go (a NoSchedule taint, say) keep theirs until enough others are available."""
    plan = Plan()
    surging = available = 0
    candidates: list[str] = []
    leaving: list[Object] = []
    for node in view.considered:
        found = _pair(view, view.pods.get(node, ()))
        if found is None:
            surging += 1
            continue
        shown = found.old or found.new
        available += shown is not None and view.available(shown)
        if found.old is None:
            continue
        runs = node in view.fits and view.fits[node].run
        if found.new is not None:
            if view.available(found.new):
                plan.delete.append(found.old)
            else:
                surging += 1
        elif view.available(found.old):
            if runs:
                candidates.append(node)
            else:
                leaving.append(found.old)
        elif runs:
            plan.create.append(node)
        else:
            plan.delete.append(found.old)
    plan.delete += leaving[: max(0, available - view.wanted)]
    plan.create += candidates[: max(0, view.surge - surging)]
    return plan


def status_of(view: View) -> dict[str, Any]:
    current = misscheduled = ready = available = updated = 0
    for node, fit in view.fits.items():
        pods = view.pods.get(node, ())
        if not pods:
            continue
        if not fit.run:
            misscheduled += 1
            continue
        current += 1
        # The oldest counts: while a node has two, its update is not over.
        ready += is_ready(pods[0])
        available += is_available(pods[0], view.min_ready, view.now)
        updated += view.is_new(pods[0])
    status = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": view.wanted,
        "numberReady": ready,
        "observedGeneration": view.daemon_set["metadata"].get("generation", 0),
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": view.wanted - available,
        "collisionCount": (view.daemon_set.get("status") or {}).get("collisionCount"),
        "conditions": (view.daemon_set.get("status") or {}).get("conditions"),
    }
    required = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    return without_zeros(status, *required)
