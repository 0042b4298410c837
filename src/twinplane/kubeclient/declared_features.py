"""What pods need of a node's kubelet that not every kubelet can do: features that nodes declare in their status.

KEP-5328 (on since 1.36). The scheduler keeps pods from nodes that do not declare what they need, kubelets refuse them,
and admission refuses a change of a running pod that its node could not make. Pure. Both lists are upstream's
(`nodedeclaredfeatures/features`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESTART_ALL = "RestartAllContainersOnContainerExits"
HOST_NETWORK_USERS = "UserNamespacesHostNetworkSupport"
POD_RESIZE = "InPlacePodLevelResourcesVerticalScaling"
INIT_RESIZE = "InPlacePodVerticalScalingInitContainers"

Spec = Mapping[str, Any]
NONE: frozenset[str] = frozenset()


def needed_to_run(spec: Spec) -> frozenset[str]:
    """What a pod of this spec needs from its first day."""
    needed = NONE
    # Plain loops: asked of every pod, and hardly any needs anything.
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            rules = container.get("restartPolicyRules")
            if rules and any(rule.get("action") == "RestartAllContainers" for rule in rules):
                needed |= {RESTART_ALL}
    if spec.get("hostUsers") is False and spec.get("hostNetwork"):
        needed |= {HOST_NETWORK_USERS}
    return needed


def needed_to_become(before: Spec, after: Spec) -> list[str]:
    """What it takes to make of a running pod another one, sorted."""
    needed = [POD_RESIZE] if (before.get("resources") or {}) != (after.get("resources") or {}) else []
    old, new = before.get("initContainers") or (), after.get("initContainers") or ()
    resized = any(
        one.get("restartPolicy") != "Always" and (one.get("resources") or {}) != (other.get("resources") or {})
        for one, other in zip(old, new, strict=False)
    )
    return [*needed, INIT_RESIZE] if resized else needed
