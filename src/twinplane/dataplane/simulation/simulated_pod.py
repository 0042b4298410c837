"""One simulated pod: what the kubelet knows of it, and the life that it leads."""

from __future__ import annotations

from dataclasses import dataclass

from twinplane.dataplane.simulation import kubelet_admission
from twinplane.dataplane.simulation.lifecycle import PodLife
from twinplane.dataplane.simulation.nodes import SimulatedNode
from twinplane.dataplane.simulation.pod_spec import PodSpec
from twinplane.kubeclient.contract import Object

FINISHED = ("Succeeded", "Failed")


@dataclass(slots=True, eq=False)
class SimulatedPod:
    """`body` is the object as last seen; `life` is None for a pod that the node refused."""

    spec: PodSpec
    body: Object
    node: SimulatedNode
    life: PodLife
    requests: dict[str, int]
    address: str = ""
    terminal: bool = False
    """Succeeded or Failed, and written so: nothing will happen any more but its deletion."""
    refused: kubelet_admission.Refusal | None = None
    deleted: bool = False
    """Its last DELETE was accepted; finalizers may still keep the object."""
    told_by: float | None = None
    """When its first status is written at the latest; None once it has been, or is about to be."""

    @property
    def serving(self) -> bool:
        """Something answers at its address."""
        return (
            bool(self.address)
            and not self.node.silent
            and any(container.running for container in self.life.containers if container.spec.kind != "init")
        )
