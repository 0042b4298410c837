"""NodeUnschedulable: a cordoned node takes only pods that tolerate the cordon's taint."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import UNSCHEDULABLE_TAINT, NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeUnschedulable"
REFUSAL = Refusal(NAME, ("node(s) were unschedulable",), resolvable=False)


class NodeUnschedulable(Check):
    filters = True

    def refuse(self, node: NodeState) -> Refusal | None:
        return REFUSAL if node.facts.unschedulable else None


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return None if shape.tolerates(UNSCHEDULABLE_TAINT) else NodeUnschedulable()


PLUGIN = Plugin(NAME, Scope.FACTS, check)
