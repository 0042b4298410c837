"""NodeDeclaredFeatures: a pod goes only to nodes whose kubelets declare the features that it needs."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeDeclaredFeatures"
REFUSAL = Refusal(NAME, ("node(s) didn't match Pod's required features",), resolvable=False)


class NodeDeclaredFeatures(Check):
    filters = True

    def __init__(self, needed: frozenset[str]) -> None:
        self._needed = needed

    def refuse(self, node: NodeState) -> Refusal | None:
        return None if self._needed.issubset(node.facts.features) else REFUSAL


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return NodeDeclaredFeatures(shape.features) if shape.features else None


# Upstream's last filter, although it looks at the node object only.
PLUGIN = Plugin(NAME, Scope.PODS, check)
