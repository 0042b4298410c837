"""NodeName: a pod that names its node goes nowhere else."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeName"
REFUSAL = Refusal(NAME, ("node(s) didn't match the requested node name",), resolvable=False)


class NodeName(Check):
    filters = True

    def __init__(self, name: str) -> None:
        self._name = name

    def refuse(self, node: NodeState) -> Refusal | None:
        return None if node.name == self._name else REFUSAL


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return NodeName(shape.node_name) if shape.node_name else None


PLUGIN = Plugin(NAME, Scope.FACTS, check)
