"""What a DaemonSet does next: pods to make, pods to delete, and its status. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
            _thin_out(view, pods, plan)
    return plan


def _thin_out(view: View, pods: Sequence[Object], plan: Plan) -> None:
    plan.finished += [pod for pod in pods if is_terminal(pod) and not is_deleting(pod)]
    living = [pod for pod in pods if not is_terminal(pod) and not is_deleting(pod)]
    if not view.surge:
        plan.delete += living[1:]
        return
    # While surging an old pod may stand beside a new one, until the new one is available.
    new = [pod for pod in living if view.is_new(pod)]
    old = [pod for pod in living if not view.is_new(pod)]
    plan.delete += new[1:] + old[1:]


def roll(view: View) -> Plan:
    """The next step of a rolling update."""
    return _roll_by_surge(view) if view.surge else _roll_by_deletion(view)


def _roll_by_deletion(view: View) -> Plan:
    plan = Plan()
    unavailable = 0
    candidates: list[Object] = []
    for node, fit in view.fits.items():
        pods = view.pods.get(node, ())
        if not fit.run and not pods:
            continue
        new = next((pod for pod in pods if view.is_new(pod)), None)
        old = next((pod for pod in pods if not view.is_new(pod)), None)
        if new is not None or old is None:
            unavailable += new is None or not view.available(new)
        elif not view.available(old):
            unavailable += 1
            if not is_deleting(old):
                # Nothing is lost by replacing what does not work.
                plan.delete.append(old)
        else:
            candidates.append(old)
    room = max(0, view.limit("maxUnavailable", 1) - unavailable)
    plan.delete += candidates[:room]
    return plan


def _roll_by_surge(view: View) -> Plan:
    plan = Plan()
    surging = 0
    candidates: list[str] = []
    for node, fit in view.fits.items():
        pods = view.pods.get(node, ())
        new = next((pod for pod in pods if view.is_new(pod)), None)
        old = next((pod for pod in pods if not view.is_new(pod) and not is_deleting(pod)), None)
        if old is None or not fit.run:
            continue
        if new is None:
            if view.available(old):
                candidates.append(node)
            else:
                plan.create.append(node)
        elif view.available(new):
            plan.delete.append(old)
        else:
            surging += 1
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
        shown = next((pod for pod in pods if not is_deleting(pod)), pods[0])
        ready += is_ready(shown)
        available += is_available(shown, view.min_ready, view.now)
        updated += any(view.is_new(pod) for pod in pods)
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
