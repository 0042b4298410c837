"""`Fabric`: keeps this host's networks equal to the account. One task of the region daemon.

Hears of changes, reads, plans and applies the difference. A change is acted on at once, those that come meanwhile are
taken together in the next round: an address assigned to an interface is live some milliseconds after the API call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from twinplane.cloud.contract import CloudState
from twinplane.cloud.network.contract import instance_namespace, name_prefix, region_id
from twinplane.cloud.network.fabric import namespaces, planner, uplink
from twinplane.cloud.network.fabric.applier import Applier
from twinplane.cloud.network.fabric.contract import Flow, HostSide, Services, Snapshot
from twinplane.cloud.network.fabric.slices import RUN, Slices
from twinplane.cloud.network.fabric.uplink import Uplink

log = logging.getLogger(__name__)

CHECK = 60.0
"""Seconds between full checks, in which the kernel is asked what there is: heals what somebody else changed."""
RETRY = (0.2, 30.0)
"""Seconds until a failed round is tried again: the first time, and at most."""
SERVICES = frozenset({"ec2", "autoscaling", "cloudformation", "eks", "elasticloadbalancing", "elbv2"})


class Fabric:
    """Implements `network.contract.InstanceNetworks`."""

    def __init__(
        self,
        data_dir: Path,
        state: CloudState,
        read: Callable[[], Awaitable[Snapshot]],
        machines: Callable[[], Collection[str]],
        services: Callable[[], Services],
        *,
        run_dir: Path = RUN,
        host_namespace: str | None = None,
    ) -> None:
        """`read` is `from_moto.MotoReader.read`, run in the thread of the account. `machines` are the ids of the
        instances that are real machines and not terminated, `services` what of the loopback VPCs see: asked in every
        round; `refresh` after they changed. `host_namespace` stands for the host when the fabric is tested."""
        self._data_dir = data_dir
        self._region = region_id(data_dir)
        self._read = read
        self._machines = machines
        self._services = services
        self._run_dir = run_dir
        self._host = host_namespace
        self._uplink = Uplink()
        self._active = False
        self._slices = Slices(data_dir, run_dir)
        self._applier = Applier(self._region, host_namespace)
        self._announced: dict[str, frozenset[tuple[str, str]]] = {}
        self._flows: dict[Flow, tuple[tuple[str, int], ...]] = {}
        self._ready: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._round = asyncio.Condition()
        self._started = self._finished = 0
        state.subscribe(self._on_change)

    def _on_change(self, service: str) -> None:
        if service in SERVICES:
            self._changed.set()

    def refresh(self) -> None:
        """Machines or services are others than before."""
        self._changed.set()

    def announce(self, holder: str, addresses: Iterable[tuple[str, str]]) -> None:
        """(VPC id, address) of the interfaces that a part of this process (`holder`) binds to, all of them: the host
        has their edge addresses, and the VPC reaches them there. Replaces what the same holder announced before."""
        announced = frozenset(addresses)
        if self._announced.get(holder, frozenset()) != announced:
            self._announced[holder] = announced
            self._changed.set()

    def hand_on(self, flows: Mapping[Flow, tuple[tuple[str, int], ...]]) -> None:
        """What of the announced addresses needs no process of the host -> where each new flow goes to one of."""
        if self._flows != flows:
            self._flows = dict(flows)
            self._changed.set()

    async def settled(self) -> None:
        """Returns when everything that is true now has taken effect."""
        self._changed.set()
        async with self._round:
            wanted = self._started + 1
            await self._round.wait_for(lambda: self._finished >= wanted)

    async def instance_network(self, instance_id: str) -> str:
        async with self._round:
            if instance_id not in self._ready:
                self._changed.set()
            await self._round.wait_for(lambda: instance_id in self._ready)
        return instance_namespace(self._data_dir, instance_id)

    async def run(self) -> None:
        """Until cancelled; everything stays as it is then, and traffic goes on."""
        check, retry = True, RETRY[0]
        while True:
            self._changed.clear()
            succeeded = await self._safely(check=check)
            check, timeout = not succeeded, CHECK if succeeded else retry
            retry = RETRY[0] if succeeded else min(retry * 2, RETRY[1])
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                check = True

    async def _safely(self, *, check: bool) -> bool:
        self._started += 1
        current = self._started
        try:
            ready = await self._rebuild(check=check)
        except Exception:
            # The boundary of this task: a kernel that refuses a change must not end the region's other parts. What was
            # applied stays in force.
            log.exception("the VPC networks could not be brought up to date; trying again")
            return False
        async with self._round:
            self._ready, self._finished = ready, current
            self._round.notify_all()
        return True

    async def _rebuild(self, *, check: bool) -> frozenset[str]:
        here = HostSide(self._services(), frozenset().union(*self._announced.values()), flows=self._flows)
        machines = frozenset(self._machines())
        snapshot = await self._read()
        applying = asyncio.ensure_future(asyncio.to_thread(self._apply, snapshot, machines, here, check))
        try:
            return await asyncio.shield(applying)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and whoever waits for the end of this task wants the machine to himself.
            await asyncio.wait([applying])
            raise

    def _apply(self, snapshot: Snapshot, machines: frozenset[str], here: HostSide, check: bool) -> frozenset[str]:
        prefix = name_prefix(self._region)
        wanted = planner.materialised(snapshot, machines)
        if not wanted and not self._active and not namespaces.existing(prefix):
            # A region without real nodes needs neither root nor the programs.
            return frozenset()
        self._active = True
        if check or not self._uplink.device:
            self._uplink = self._applier.uplink(self._run_dir)
        slices = self._slices.reserve(wanted, self._uplink.occupied)
        plan = planner.plan(snapshot, machines, slices, replace(here, uplink=self._uplink), prefix)
        if plan.host.table:
            uplink.switch_on(self._run_dir, self._uplink)
        self._applier.apply(plan, check=check)
        self._active = bool(wanted)
        return frozenset(plan.instances)

    async def remove_everything(self) -> None:
        """For `down` and `delete`, after `run` has ended: no namespace, link, route or rule stays."""
        await asyncio.to_thread(clean, self._data_dir, self._run_dir, self._host)


def clean(data_dir: Path, run_dir: Path = RUN, host_namespace: str | None = None) -> None:
    """Take away what belongs to a region, also when its daemon was killed: all is found by name. Blocking."""
    slices = Slices(data_dir, run_dir)
    slices.reserve([])
    Applier(region_id(data_dir), host_namespace).remove_everything(None if slices.others() else run_dir)
