"""Through the loop, with an API server that refuses writes now and then: no device is ever written to two claims."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.device_builders import device, device_claim, device_class, device_slice, request, uses
from tests.unit.scheduler.test_extended_resources import GPU, asking
from tests.unit.scheduler.test_loop import placed, running
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.device_claims import consumers_of, device_of, results_of
from twinplane.kubeclient.errors import conflict
from twinplane.kubeclient.resources import DEVICE_CLASSES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time

NODE_COUNT, DEVICE_COUNT, POD_COUNT = 3, 3, 12


class Refusing(MemoryCluster):
    """Refuses some of the scheduler's writes, and sees that all others give each device once."""

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        super().__init__(clock)
        self.refused = 0
        self.given_twice: list[str] = []
        self.reactions.append(lambda verb, resource, body: self._check(random, resource, body))

    def _check(self, random: Random, resource: Resource, body: Object) -> None:
        if resource not in (RESOURCE_CLAIMS, PODS):
            return
        if self.refused < 40 and random.random() < 0.25:
            self.refused += 1
            raise conflict(resource.group, resource.plural, body["metadata"].get("name", ""), "not now")
        if resource == RESOURCE_CLAIMS:
            name = body["metadata"].get("name")
            others = [claim for claim in self.objects(RESOURCE_CLAIMS) if claim["metadata"]["name"] != name]
            given = Counter(device_of(result) for claim in (*others, body) for result in results_of(claim))
            self.given_twice += ["/".join(device) for device, count in given.items() if count > 1]


@pytest.mark.parametrize("seed", range(6))
@virtual_time
async def test_no_device_is_written_to_two_claims(clock: VirtualClock, seed: int) -> None:
    cluster = Refusing(clock, Random(seed))
    names = [f"n{number}" for number in range(NODE_COUNT)]
    cluster.seed(NODES, *map(node, names))
    cluster.seed(DEVICE_CLASSES, device_class(extendedResourceName=GPU))
    devices = [device(str(number)) for number in range(DEVICE_COUNT)]
    cluster.seed(RESOURCE_SLICES, *(device_slice(name, *devices, node=name) for name in names))
    for number in range(POD_COUNT):
        if number % 2:
            cluster.seed(PODS, asking(f"p{number}"))
        else:
            cluster.seed(RESOURCE_CLAIMS, device_claim(f"c{number}", request()))
            cluster.seed(PODS, pod(f"p{number}", **uses(f"c{number}")))
    async with running(cluster, clock):
        await asyncio.sleep(300)
    assert cluster.refused
    assert cluster.given_twice == []
    bound = {name for name, where in placed(cluster).items() if where}
    assert len(bound) == NODE_COUNT * DEVICE_COUNT
    holding = {
        name for claim in cluster.objects(RESOURCE_CLAIMS) if results_of(claim) for name, _ in consumers_of(claim)
    }
    assert bound <= holding
