"""Where load balancers find their targets in VPCs with real nodes: `Reach` over the edges.

A target on a real machine is its edge address and port; whatever is not (simulated nodes, also those in the same VPC)
is left to `others`, the simulated nodes' `SimulatedReach`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twinplane.cloud.contract import CloudState, Instance
from twinplane.cloud.loadbalancing.contract import Reach, SocketAddress, Target
from twinplane.edge import Edges


class VpcReach:
    """Implements `loadbalancing.contract.Reach`."""

    def __init__(self, state: CloudState, edges: Edges, machines: Callable[[], Collection[str]], others: Reach) -> None:
        """`machines` are the ids of the instances that are real machines, as `Fabric` is given them."""
        self._edges = edges
        self._state = state
        self._machines = machines
        self._others = others
        self._by_id: dict[str, Instance] | None = None
        state.subscribe(self._forget)

    def _forget(self, _service: str) -> None:
        self._by_id = None

    def resolve(self, vpc_id: str, target: Target) -> list[SocketAddress]:
        named = target.id.startswith("i-")
        instance = self._instance(target.id) if named else self._state.instance_by_address(vpc_id, target.id)
        if instance is None or instance.instance_id not in self._machines():
            return self._others.resolve(vpc_id, target)
        if instance.state != "running":
            return []
        found = self._edges.to_host(instance.vpc_id, instance.private_ip if named else target.id)
        return [(found, target.port)] if found else []

    def source(self, vpc_id: str, interface_address: str) -> str | None:
        """The edge address to bind to for connections that come from a load balancer's interface, once it is announced
        (`Fabric.announce`); None in a VPC without real nodes."""
        return self._edges.to_host(vpc_id, interface_address)

    def _instance(self, instance_id: str) -> Instance | None:
        if self._by_id is None:
            self._by_id = {instance.instance_id: instance for instance in self._state.instances()}
        return self._by_id.get(instance_id)
