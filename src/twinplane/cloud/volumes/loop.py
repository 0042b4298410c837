"""The loop that gives volumes of the account their effect: woken by changes of EC2, level-triggered.

Machines go on when the daemon dies: loop devices belong to the kernel, and the next daemon finds them by their files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twinplane.cloud.contract import REAL, CloudState, Instance
from twinplane.cloud.volumes.contract import Storage
from twinplane.cloud.volumes.data_path import DataPath, release_all

log = logging.getLogger(__name__)

DEBOUNCE = 0.02
RETRY = 0.5
"""Seconds until a disk that was in use, or an attempt that failed, is tried again."""
TICK = 30.0
UP = frozenset({"pending", "running"})
ENDED = frozenset({"shutting-down", "terminated"})
SERVICES = frozenset({"ec2", "autoscaling", "cloudformation"})


class Volumes:
    """`run` until cancelled: disks stay attached. `release` is for the end of the region, after its machines."""

    def __init__(
        self,
        data_dir: Path,
        state: CloudState,
        read: Callable[[], Awaitable[Storage | None]],
        instance_type: Callable[[str], Awaitable[dict[str, Any] | None]],
    ) -> None:
        """`read` is `MotoReader.read`, run in the thread of the account; `instance_type` is the account's."""
        self._data_dir = data_dir
        self._state = state
        self._read = read
        self._instance_type = instance_type
        self._changed = asyncio.Event()
        self._path: DataPath | None = None
        self._busy = asyncio.Lock()
        """One step on the data path at a time."""

    async def run(self) -> None:
        self._state.subscribe(self._account_changed)
        while True:
            settled = await self._apply_safely()
            try:
                async with asyncio.timeout(TICK if settled else RETRY):
                    await self._changed.wait()
                    await asyncio.sleep(DEBOUNCE)
            except TimeoutError:
                pass
            self._changed.clear()

    def _account_changed(self, service: str) -> None:
        if service in SERVICES:
            self._changed.set()

    async def _apply_safely(self) -> bool:
        try:
            return await self._apply()
        except OSError as error:
            # A full disk or a lack of loop devices: told, and tried again; what is attached stays attached.
            log.warning("volumes: %s", error)
            return False

    async def _apply(self) -> bool:
        storage = await self._read()
        if storage is None:
            return True
        machines = {found.instance_id: found for found in self._state.instances() if found.runtime == REAL}
        if not machines and not (self._data_dir / "volumes").exists() and not storage.snapshots:
            return True
        there = {name for name, found in machines.items() if found.state not in ENDED}
        up = {name for name, found in machines.items() if found.state in UP}
        async with self._busy:
            path = self._data_path()
            done = await asyncio.to_thread(path.apply, storage, there)
            gone = await asyncio.to_thread(path.forget_instance_stores, up)
        return done and gone

    def _data_path(self) -> DataPath:
        if self._path is None:
            self._path = DataPath(self._data_dir, asyncio.get_running_loop().time)
        return self._path

    async def instance_store(self, instance: Instance) -> tuple[str, ...]:
        """Paths in the machine of its instance-store disks, made before it boots; none for most types.

        Raises OSError.
        """
        facts = await self._instance_type(instance.instance_type) or {}
        sizes = facts.get("instanceStores") or []
        if not sizes:
            return ()
        async with self._busy:
            return await asyncio.to_thread(self._data_path().make_instance_store, instance.instance_id, sizes)

    async def release(self) -> None:
        """Detach everything, after the machines have ended."""
        left = await asyncio.to_thread(release_all, self._data_dir)
        if left:
            log.warning("still in use, detached by the kernel after their last user: %s", ", ".join(left))
