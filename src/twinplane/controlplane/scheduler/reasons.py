"""The texts of a failed attempt, as in `FailedScheduling` events and the PodScheduled condition.

Wording: k8s.io/kube-scheduler framework `FitError.Error`: reasons with their counts, sorted as text, then what
preemption had to say.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING_VICTIMS = "not eligible due to a terminating pod on the nominated node."


def availability(node_count: int, counts: Mapping[str, int]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`"""
    reasons = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{node_count} nodes are available: {', '.join(reasons)}."


def unschedulable(node_count: int, counts: Mapping[str, int], preemption: str) -> str:
    if not node_count:
        return NO_NODES
    text = availability(node_count, counts)
    return f"{text} preemption: {preemption}" if preemption else text
