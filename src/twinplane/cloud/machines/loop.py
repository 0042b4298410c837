"""The loop that gives each real instance its machine: woken by changes of the account and by machines that end.

Level-triggered: the plan is made anew from all instances and all that runs, so nothing that was missed stays missed.
One operation at a time on each machine; different machines do not wait for one another. A daemon that dies leaves its
machines running, and the next one adopts them here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twinplane.clock import Clock
from twinplane.cloud.contract import REAL, CloudState, Instance
from twinplane.cloud.identity import assumed_role_arn
from twinplane.cloud.machines.decision import decide
from twinplane.cloud.machines.machine import Machine, kept
from twinplane.cloud.machines.record import Surroundings, credentials_record, machine_record
from twinplane.cloud.network.contract import InstanceNetworks
from twinplane.process_identity import RunningProcess, exit_of

log = logging.getLogger(__name__)

RESTART_DELAY_FIRST = 0.5
RESTART_DELAY_LAST = 30.0
"""Seconds before a machine that did not start, or ended by itself, is started again; doubled each time."""
STEADY_SECONDS = 60.0
NETWORK_SECONDS = 30.0
CREDENTIAL_SECONDS = 6 * 3600.0
"""How long an instance role's keys last, as in EC2; renewed after half of it."""

PauseArchive = Callable[[], Awaitable[Path]]
"""An archive of the pause image, made at first use."""


class Machines:
    """`run` until cancelled: then machines go on. `stop_all` ends them in order, keeping their disks."""

    def __init__(
        self,
        data_dir: Path,
        state: CloudState,
        networks: InstanceNetworks,
        surroundings: Surroundings,
        *,
        pause_archive: PauseArchive,
        clock: Clock,
    ) -> None:
        """`run` only after `state` has loaded the account: what it does not know is forgotten."""
        self._data_dir = data_dir
        self._state = state
        self._networks = networks
        self._surroundings = surroundings
        self._pause_archive = pause_archive
        self._clock = clock
        self._running: dict[str, int] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._delays: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._adopt()
            self._state.subscribe(self._account_changed)
            tasks.create_task(self._renew_credentials(), name="machines: credentials")
            self._changed.set()
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._apply()

    async def stop_all(self) -> None:
        """After `run` was cancelled."""
        await asyncio.gather(*(machine.stop() for machine in kept(self._data_dir)))

    def running(self) -> list[str]:
        """Ids of the instances whose machines run."""
        return sorted(self._running)

    # -- the plan, applied -------------------------------------------------------------------------------------------

    def _account_changed(self, service: str) -> None:
        if service in ("ec2", "autoscaling", "cloudformation"):
            self._changed.set()

    def _apply(self) -> None:
        names = [machine.instance_id for machine in kept(self._data_dir)]
        plan = decide(self._state.instances(), self._running, names)
        for instance in plan.start:
            self._do(instance.instance_id, self._start(instance))
        for name in plan.stop:
            self._do(name, self._stop(name))
        for name in plan.forget:
            self._do(name, self._forget(name))

    def _do(self, name: str, operation: Any) -> None:
        """Start an operation on a machine, unless one is under way: its end makes another plan."""
        if name in self._busy:
            operation.close()
            return
        assert self._tasks is not None
        self._busy[name] = self._tasks.create_task(self._guarded(name, operation), name=f"machine {name}")

    async def _guarded(self, name: str, operation: Awaitable[None]) -> None:
        try:
            await operation
        except (OSError, TimeoutError, LookupError, RuntimeError) as error:
            delay = self._next_delay(name)
            log.warning("machine %s: %s; trying again in %.1f s", name, error or type(error).__name__, delay)
            await asyncio.sleep(delay)
        finally:
            self._busy.pop(name, None)
            self._changed.set()

    def _next_delay(self, name: str) -> float:
        delay = self._delays.get(name, RESTART_DELAY_FIRST)
        self._delays[name] = min(delay * 2, RESTART_DELAY_LAST)
        return delay

    # -- operations --------------------------------------------------------------------------------------------------

    async def _start(self, instance: Instance) -> None:
        machine = Machine(self._data_dir, instance.instance_id)
        async with asyncio.timeout(NETWORK_SECONDS):
            namespace = await self._networks.instance_network(instance.instance_id)
        record = await self._record(instance, machine.cgroup)
        pause = await self._pause_archive()
        await asyncio.to_thread(machine.prepare, record, pause)
        self._tell_credentials(instance)
        process = machine.start(namespace, instance.boots)
        log.info("machine %s started (pid %d)", instance.instance_id, process.pid)
        self._watch(instance.instance_id, process, instance.boots)

    async def _record(self, instance: Instance, cgroup: str) -> dict[str, Any]:
        surroundings = self._surroundings
        facts = await surroundings.instance_type(instance.instance_type)
        if facts is None:
            raise LookupError(f"no instance type {instance.instance_type}")
        api_servers = await surroundings.api_servers(instance.cluster)
        store = await surroundings.instance_store(instance)
        return machine_record(
            instance, surroundings, facts, cgroup=cgroup, api_servers=api_servers, instance_store=store
        )

    async def _stop(self, name: str) -> None:
        log.info("machine %s stops", name)
        await Machine(self._data_dir, name).stop()
        self._running.pop(name, None)

    async def _forget(self, name: str) -> None:
        await asyncio.to_thread(Machine(self._data_dir, name).take_away)
        self._delays.pop(name, None)

    # -- what runs ---------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        for machine in kept(self._data_dir):
            process = machine.running()
            if process is not None:
                log.info("machine %s runs already (pid %d)", machine.instance_id, process.pid)
                self._watch(machine.instance_id, process, machine.boots())

    def _watch(self, name: str, process: RunningProcess, boots: int) -> None:
        assert self._tasks is not None
        self._running[name] = boots
        self._tasks.create_task(self._until_ended(name, process), name=f"machine {name} runs")

    async def _until_ended(self, name: str, process: RunningProcess) -> None:
        """A machine that ends by itself is started again by the next plan, as EC2 recovers an instance."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await exit_of(process)
        if self._running.pop(name, None) is not None and name not in self._busy:
            if loop.time() - began > STEADY_SECONDS:
                self._delays[name] = RESTART_DELAY_FIRST
            delay = self._next_delay(name)
            log.warning("machine %s ended by itself; starting it again in %.1f s", name, delay)
            self._do(name, asyncio.sleep(delay))
        self._changed.set()

    # -- credentials -------------------------------------------------------------------------------------------------

    def _tell_credentials(self, instance: Instance) -> None:
        if not instance.role:
            return
        expiration = self._clock.now() + CREDENTIAL_SECONDS
        arn = assumed_role_arn(self._surroundings.account_id, instance.role, instance.instance_id)
        found = credentials_record(self._surroundings.credentials(arn, expiration), expiration)
        Machine(self._data_dir, instance.instance_id).tell("credentials.json", found)

    async def _renew_credentials(self) -> None:
        """At once for adopted machines, whose keys may have aged while there was no daemon."""
        while True:
            for instance in self._state.instances():
                if instance.runtime == REAL and instance.instance_id in self._running:
                    self._tell_credentials(instance)
            await asyncio.sleep(CREDENTIAL_SECONDS / 2)
