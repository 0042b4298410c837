"""NodePorts: a host port is taken by one pod of a node only."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodePorts"
REFUSAL = Refusal(NAME, ("node(s) didn't have free ports for the requested pod ports",))


class NodePorts(Check):
    filters = True

    def __init__(self, shape: PodShape) -> None:
        self._ports = shape.host_ports

    def refuse(self, node: NodeState) -> Refusal | None:
        taken = any(own.conflicts(other) for own in self._ports for other in node.ports)
        return REFUSAL if taken else None


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return NodePorts(shape) if shape.host_ports else None


PLUGIN = Plugin(NAME, Scope.PODS, check)
