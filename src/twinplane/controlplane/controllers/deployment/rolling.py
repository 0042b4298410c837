"""How many replicas each ReplicaSet of a Deployment should have now. Pure: numbers in, numbers out.

The rules are those of upstream's deployment controller (pkg/controller/deployment/util and rolling.go); a plan is a
list of (ReplicaSet, size), which the controller applies in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.controllers.int_or_percent import scaled
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, created_at, name_of, uid_of

DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"

Plan = list[tuple[Object, int]]


def replicas_of(body: Object) -> int:
    return int(body["spec"].get("replicas", 1))


def available_of(replica_set: Object) -> int:
    """Of the replicas it is to keep: a status from before it was scaled down is no availability to spare."""
    return min(int((replica_set.get("status") or {}).get("availableReplicas", 0)), replicas_of(replica_set))


def is_rolling(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def _fenceposts(deployment: Object) -> tuple[int, int]:
    """(surge, unavailable); when both come to zero nothing could ever move, so one pod may be missing."""
    parameters = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = replicas_of(deployment)
    surge = scaled(parameters.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = scaled(parameters.get("maxUnavailable", "25%"), replicas, round_up=False)
    return surge, unavailable if surge or unavailable else 1


def max_surge(deployment: Object) -> int:
    return _fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    if not is_rolling(deployment) or replicas_of(deployment) == 0:
        return 0
    return min(_fenceposts(deployment)[1], replicas_of(deployment))


def active(replica_sets: Sequence[Object]) -> list[Object]:
    return [replica_set for replica_set in replica_sets if replicas_of(replica_set) > 0]


def new_size(deployment: Object, every: Sequence[Object], current: int) -> int:
    """Of the new ReplicaSet, which has `current` replicas among `every` one's."""
    wanted = replicas_of(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - sum(map(replicas_of, every))
    return current if room <= 0 else current + min(room, wanted - current)


def scale_down_old(deployment: Object, new: Object, old: Sequence[Object]) -> Plan:
    """Old replicas that may go: first those that are not available anyway, then as availability permits."""
    sizes = {uid_of(replica_set): replicas_of(replica_set) for replica_set in old}
    by_age = sorted(old, key=created_at)
    minimum = replicas_of(deployment) - max_unavailable(deployment)
    new_unavailable = replicas_of(new) - available_of(new)
    budget = sum(sizes.values()) + replicas_of(new) - minimum - new_unavailable
    if budget <= 0:
        return []
    for replica_set in by_age:
        size = sizes[uid_of(replica_set)]
        unhealthy = min(budget, size - available_of(replica_set))
        if unhealthy > 0:
            sizes[uid_of(replica_set)] = size - unhealthy
            budget -= unhealthy
    spare = available_of(new) + sum(map(available_of, old)) - minimum
    for replica_set in by_age:
        going = min(sizes[uid_of(replica_set)], spare)
        if going > 0:
            sizes[uid_of(replica_set)] -= going
            spare -= going
    return [(entry, sizes[uid_of(entry)]) for entry in by_age if sizes[uid_of(entry)] != replicas_of(entry)]


def scale_all(deployment: Object, new: Object | None, old: Sequence[Object]) -> Plan:
    """After `spec.replicas` itself was changed, or while paused: keep the proportions of a rollout under way."""
    wanted = replicas_of(deployment)
    only = _active_or_latest(new, old)
    if only is not None:
        return [] if replicas_of(only) == wanted else [(only, wanted)]
    if new is not None and _is_saturated(deployment, new):
        return [(replica_set, 0) for replica_set in active(old)]
    if not is_rolling(deployment):
        return []
    every = active([*old, *([new] if new is not None else [])])
    return _proportional(deployment, every)


def _active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    live = active([*old, *([new] if new is not None else [])])
    if len(live) > 1:
        return None
    if live:
        return live[0]
    return new if new is not None else max(old, key=created_at, default=None)


def _is_saturated(deployment: Object, replica_set: Object) -> bool:
    wanted = replicas_of(deployment)
    desired = annotations_of(replica_set).get(DESIRED_REPLICAS)
    return replicas_of(replica_set) == wanted and desired == str(wanted) and available_of(replica_set) == wanted


def _proportional(deployment: Object, every: Sequence[Object]) -> Plan:
    wanted = replicas_of(deployment)
    allowed = wanted + max_surge(deployment) if wanted else 0
    to_add = allowed - sum(map(replicas_of, every))
    # The larger ones take more; among equals a growing Deployment favours new ones, a shrinking one gives up old ones.
    sign = -1 if to_add > 0 else 1
    ordered = sorted(every, key=lambda entry: (-replicas_of(entry), sign * created_at(entry), name_of(entry)))
    added = 0
    plan: Plan = []
    for replica_set in ordered:
        share = _share(deployment, replica_set, to_add, added)
        added += share
        plan.append((replica_set, replicas_of(replica_set) + share))
    if plan and to_add != 0:
        first, size = plan[0]
        plan[0] = (first, max(0, size + to_add - added))
    return plan


def _share(deployment: Object, replica_set: Object, to_add: int, added: int) -> int:
    if to_add in (0, added):
        return 0
    current = replicas_of(replica_set)
    wanted = replicas_of(deployment)
    if wanted == 0:
        fraction = -current
    else:
        before = int(annotations_of(replica_set).get(MAX_REPLICAS) or 0)
        before = before or int((deployment.get("status") or {}).get("replicas", 0))
        if not before:
            return 0
        fraction = _rounded(current * (wanted + max_surge(deployment)) / before) - current
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _rounded(number: float) -> int:
    """Half away from zero, unlike Python's `round`."""
    return int(number + 0.5) if number >= 0 else -int(-number + 0.5)
