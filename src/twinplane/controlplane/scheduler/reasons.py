"""The texts of a failed attempt, as in `FailedScheduling` events and the PodScheduled condition.

Wording: k8s.io/kube-scheduler framework `FitError.Error` as of 1.34 to 1.36: reasons with their counts, sorted as text,
then what the post-filters had to say: DynamicResources, which is on since 1.34 and has nothing to do for pods without
resource claims, then preemption. When a plugin turns the pod away before any node is looked at, DynamicResources fails
to find its own state and says so ("not found"), and preemption is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_CLAIMS = "no new claims to deallocate"
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING_VICTIMS = "not eligible due to a terminating pod on the nominated node."

NOT_ELIGIBLE = (NEVER, TERMINATING_VICTIMS)
"""Preemption was not tried."""


def availability(node_count: int, counts: Mapping[str, int]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`"""
    reasons = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{node_count} nodes are available: {', '.join(reasons)}."


def unschedulable(node_count: int, counts: Mapping[str, int], preemption: str | None) -> str:
    """`preemption`: what it said, empty when it found victims, None when the profile has none."""
    if not node_count:
        return NO_NODES
    text = availability(node_count, counts)
    if preemption is None:
        return f"{text} {NO_CLAIMS}"
    return f"{text} {NO_CLAIMS}, preemption: {preemption}" if preemption else text


def rejected(node_count: int, reason: str) -> str:
    """For a pod that no node could help."""
    return f"0/{node_count} nodes are available: {reason}. not found" if node_count else NO_NODES
