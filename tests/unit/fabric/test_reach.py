"""Load balancers reach real machines over the edge and leave the rest to the simulated nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twinplane.cloud.contract import ChangeListener, Instance
from twinplane.cloud.loadbalancing.contract import SocketAddress, Target
from twinplane.cloud.network.fabric.reach import VpcReach
from twinplane.cloud.network.fabric.slices import Slices
from twinplane.edge import FILE, Edges

REAL = Instance("i-1", "running", "m5.large", "", "10.0.0.5", "", "vpc-1", "", "", "", 0.0)
SIMULATED = replace(REAL, instance_id="i-2", private_ip="10.0.0.6")


class State:
    def __init__(self) -> None:
        self.found = [REAL, SIMULATED]
        self.listeners: list[ChangeListener] = []

    def instances(self, cluster: str = "") -> list[Instance]:
        return self.found

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        # 10.0.0.9 is a secondary address, a pod's.
        owners = {"10.0.0.5": "i-1", "10.0.0.9": "i-1", "10.0.0.6": "i-2"}
        return next((item for item in self.found if item.instance_id == owners.get(address)), None)

    def subscribe(self, listener: ChangeListener) -> None:
        self.listeners.append(listener)


class Others:
    def resolve(self, vpc_id: str, target: Target) -> list[SocketAddress]:
        return [("127.64.0.1", target.port)]


def test_resolving(tmp_path: Path) -> None:
    Slices(tmp_path, tmp_path / "run").reserve([("vpc-1", "10.0.0.0/16")])
    state = State()
    reach = VpcReach(state, Edges(tmp_path / FILE), lambda: {"i-1"}, Others())
    assert reach.resolve("vpc-1", Target("i-1", 30080)) == [("100.64.0.5", 30080)]
    assert reach.resolve("vpc-1", Target("10.0.0.9", 8080)) == [("100.64.0.9", 8080)]
    assert reach.resolve("vpc-1", Target("i-2", 80)) == [("127.64.0.1", 80)]
    assert reach.resolve("vpc-1", Target("10.0.0.77", 80)) == [("127.64.0.1", 80)]
    assert reach.source("vpc-1", "10.0.0.60") == "100.64.0.60"
    state.found = [replace(REAL, state="stopped")]
    for listener in state.listeners:
        listener("ec2")
    assert reach.resolve("vpc-1", Target("i-1", 30080)) == []
