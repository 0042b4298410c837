"""The pool kept supplied through EC2: in virtual time, against EC2 in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.cni.ec2 import Ec2
from twinplane.dataplane.network.cni.checkpoint import Known
from twinplane.dataplane.network.cni.interfaces import Interfaces
from twinplane.dataplane.network.cni.pool import Interface, Limits, Owner, Pool
from twinplane.dataplane.network.cni.settings import Settings
from twinplane.dataplane.network.cni.supply import Supply
from twinplane.testing.virtual_time import VirtualClock, virtual_time


class World:
    def __init__(self, ec2: Ec2, clock: VirtualClock, settings: Settings) -> None:
        self.ec2, self.clock, self.settings = ec2, clock, settings
        self.full: list[str] = []
        self.usable = True
        self.supply: Supply

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Supply]:
        interfaces = Interfaces(self.ec2, "i-1", "vpc-1", "subnet-1")
        limits = Limits(*await interfaces.limits("m5.large"), 110)
        pool = Pool({item.id: item for item in await interfaces.attached(self.clock.now())})
        known = Known(pool, limits, await interfaces.network())
        self.supply = Supply(
            known, self.settings, interfaces, self.clock, set_up=self._set_up, changed=lambda: None,
            full=self.full.append, reconciled_at=self.clock.now(),
        )  # fmt: skip
        running = asyncio.create_task(self.supply.run(self._reconcile))
        try:
            yield self.supply
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _set_up(self, interface: Interface) -> bool:
        return self.usable

    async def _reconcile(self) -> None:
        pass

    async def take(self, name: str) -> str:
        taken = await self.supply.take(Owner(name, "default", name, f"eni{name}", ""))
        self.supply.poke()
        return taken[0] if taken is not None else ""


@virtual_time
async def test_a_full_subnet_is_told_at_once_and_asked_again_later(clock: VirtualClock) -> None:
    world = World(Ec2("10.0.12.0/29"), clock, Settings())
    async with world.running():
        taken = [await world.take("a"), await world.take("b")]
        assert all(taken)
        before = clock.now()
        assert await world.take("c") == ""
        assert clock.now() - before < 0.1
        assert "enough free addresses" in world.full[0]
        # As many as there are: less than an interface's worth is better than none.
        world.ec2.free += ["10.0.12.200"]
        assert await world.take("c") == ""
        await asyncio.sleep(5.1)
        assert await world.take("c") == "10.0.12.200"


@virtual_time
async def test_further_interfaces_come_and_go(clock: VirtualClock) -> None:
    world = World(Ec2(per=3), clock, Settings(warm_eni_target=0))
    async with world.running() as supply:
        taken = [await world.take(name) for name in "abcdef"]
        assert len(set(taken)) == 6
        assert await world.take("g") == ""
        for address in taken[2:]:
            supply.pool.release(address, clock.now() + 30)
        supply.poke()
        await asyncio.sleep(120)
        assert list(world.ec2.enis) == ["eni-1"]
        assert len(world.ec2.free) == 251 - 3


@virtual_time
async def test_an_interface_that_does_not_appear_is_given_back(clock: VirtualClock) -> None:
    world = World(Ec2(per=2), clock, Settings(warm_eni_target=0))
    world.usable = False
    async with world.running():
        assert await world.take("a")
        assert await world.take("b") == ""
        assert list(world.ec2.enis) == ["eni-1"]
        world.usable = True
        await asyncio.sleep(5.1)
        assert await world.take("b")


@virtual_time
async def test_silence_of_the_api(clock: VirtualClock) -> None:
    world = World(Ec2(), clock, Settings(warm_ip_target=1))
    async with world.running():
        assert await world.take("a")
        await asyncio.sleep(0.01)
        world.ec2.away = True
        assert await world.take("b")
        assert await world.take("c") == ""
        world.ec2.away = False
        await asyncio.sleep(5.1)
        assert await world.take("c")
