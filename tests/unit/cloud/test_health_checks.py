"""Which stopped instances are given to be replaced, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from twinplane.cloud.contract import Instance
from twinplane.cloud.health_checks import GROUP_TAG, STOPPED_SECONDS, HealthChecks
from twinplane.testing.virtual_time import VirtualClock, virtual_time

PLACE = ("m5.large", "ami-1", "10.0.0.4", "ip-10-0-0-4", "vpc-1", "subnet-1", "us-west-2a", "eni-1")
ONE = Instance("i-1", "running", *PLACE, launch_time=0.0, tags={GROUP_TAG: "workers"})


class State:
    def __init__(self, *found: Instance) -> None:
        self.found = list(found)
        self._listener: Callable[[str], None] = lambda service: None

    def instances(self, cluster: str = "") -> list[Instance]:
        del cluster
        return self.found

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        raise NotImplementedError

    def subscribe(self, listener: Callable[[str], None]) -> None:
        self._listener = listener

    def put(self, *found: Instance) -> None:
        self.found = list(found)
        self._listener("ec2")


@virtual_time
async def test_those_that_stay_stopped(clock: VirtualClock) -> None:
    state, replaced = State(ONE), []

    async def note(found: Collection[str]) -> None:
        replaced.append((clock.now(), list(found)))

    task = asyncio.create_task(HealthChecks(state, clock, note).run())
    await asyncio.sleep(100)
    began = clock.now()
    # Started again in time, of no group, on its way out already: these stay.
    state.put(replace(ONE, state="stopped"))
    await asyncio.sleep(STOPPED_SECONDS - 1)
    state.put(ONE, replace(ONE, instance_id="i-2", state="stopped", tags={}))
    await asyncio.sleep(STOPPED_SECONDS)
    state.put(replace(ONE, state="stopped", leaving=True))
    await asyncio.sleep(STOPPED_SECONDS)
    assert replaced == []
    began = clock.now()
    state.put(replace(ONE, state="stopped"))
    await asyncio.sleep(STOPPED_SECONDS + 1)
    state.put(replace(ONE, state="terminated"))
    await asyncio.sleep(100)
    assert replaced == [(began + STOPPED_SECONDS, ["i-1"])]
    task.cancel()
    await asyncio.wait([task])
