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


def of_claims(has_claims: bool, idle: str, *, made: bool = False) -> str:
    """What DynamicResources had to say: `idle` is the claim that gives up its devices; one `made` here goes."""
    if not has_claims:
        return NO_CLAIMS
    if not idle:
        return "still not schedulable"
    return "deletion of ResourceClaim completed" if made else "deallocation of ResourceClaim completed"


def unschedulable(node_count: int, counts: Mapping[str, int], preemption: str | None, claims: str = NO_CLAIMS) -> str:
    """`preemption`: what it said, empty when it found victims, None when the profile has none."""
    if not node_count:
        return NO_NODES
    text = availability(node_count, counts)
    if preemption is None:
        return f"{text} {claims}"
    return f"{text} {claims}, preemption: {preemption}" if preemption else text


def rejected(node_count: int, reason: str, *, by_devices: bool = False) -> str:
    """For a pod that no node could help. `by_devices`: it was DynamicResources that turned it away."""
    if not node_count:
        return NO_NODES
    said = (
        f"{NO_CLAIMS}, preemption: {availability(node_count, {NOT_HELPFUL: node_count})}" if by_devices else "not found"
    )
    return f"0/{node_count} nodes are available: {reason}. {said}"
