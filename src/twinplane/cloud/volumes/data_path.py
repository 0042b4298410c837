"""The data path on this host: reads what is there, applies plans. Blocks; `loop` runs it in a thread.

A disk that is still in use when it is to be detached is given a moment (its machine may just be ending), then it is
cut off: from then on nothing reaches the file from there, and it may be attached elsewhere.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from twinplane.cloud.volumes import images, loop_devices
from twinplane.cloud.volumes.contract import GIB, MACHINE_DEVICES, SUFFIX, Layout, Storage
from twinplane.cloud.volumes.decision import Plan, Present, decide
from twinplane.cloud.volumes.loop_devices import LoopDevice

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds for which a disk in use is left to its machine after it was detached."""
GIGABYTE = 10**9
"""Sizes of instance stores are decimal."""


class DataPath:
    def __init__(self, data_dir: Path, now: Callable[[], float]) -> None:
        """`now` counts seconds since any moment."""
        self._layout = Layout(data_dir.resolve())
        self._now = now
        self._leaving: dict[LoopDevice, float] = {}
        """In use although detached -> since when."""
        self._cut_off: set[LoopDevice] = set()

    def apply(self, storage: Storage, machines: Collection[str]) -> bool:
        """Make it so; False when something has to be tried again soon. Raises OSError."""
        plan = decide(storage, machines, self.present())
        self._copy(plan, storage)
        for instance, name in plan.unlink:
            (self._layout.devices(instance) / name).unlink(missing_ok=True)
        busy = {name for name, device in plan.detach if not self._detach(name, device)}
        self._grow(storage)
        for instance, name in plan.attach:
            if name not in busy:
                self._attach(instance, name, storage.volumes[name].size * GIB)
        for name in plan.delete_volumes:
            if name not in busy:
                self._layout.volume(name).unlink(missing_ok=True)
        for name in plan.delete_snapshots:
            self._layout.snapshot(name).unlink(missing_ok=True)
        return not busy

    def present(self) -> Present:
        devices: dict[str, list[str]] = {}
        known = loop_devices.attached(self._layout.volumes)
        self._cut_off &= set(known)
        for found in known:
            path = Path(found.backing)
            if path.parent == self._layout.volumes and found not in self._cut_off:
                devices.setdefault(path.name.removesuffix(SUFFIX), []).append(found.device)
        links = {
            (link.parts[-4], link.name): os.readlink(link)
            for link in self._layout.machines.glob("*/run/devices/vol-*")
            if link.is_symlink()
        }
        return Present(_ids(self._layout.volumes), _ids(self._layout.snapshots), devices, links)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _copy(self, plan: Plan, storage: Storage) -> None:
        """Until nothing new comes of it: a volume of a snapshot of a volume of a snapshot."""
        snapshots, volumes = list(plan.take_snapshots), list(plan.restore)
        while True:
            left = len(snapshots) + len(volumes)
            snapshots = [name for name in snapshots if not self._take_snapshot(name, storage, {*volumes, *snapshots})]
            volumes = [name for name in volumes if not self._restore(name, storage)]
            if len(snapshots) + len(volumes) == left:
                return

    def _take_snapshot(self, name: str, storage: Storage, unfinished: Collection[str]) -> bool:
        snapshot = storage.snapshots[name]
        layout = self._layout
        source = layout.snapshot(snapshot.source) if snapshot.source else layout.volume(snapshot.volume_id)
        if source.exists():
            images.copy(source, layout.snapshot(name), snapshot.size * GIB)
        elif {snapshot.source, snapshot.volume_id} & set(unfinished):
            return False
        else:
            # The volume has never been written: its snapshot is blank, also when the volume is written later.
            images.create(self._layout.snapshot(name), snapshot.size * GIB)
        return True

    def _restore(self, name: str, storage: Storage) -> bool:
        volume = storage.volumes[name]
        source = self._layout.snapshot(volume.snapshot_id)
        if not source.exists():
            return False
        images.copy(source, self._layout.volume(name), volume.size * GIB)
        return True

    def _grow(self, storage: Storage) -> None:
        devices = self.present().devices
        for name in _ids(self._layout.volumes) & storage.volumes.keys():
            images.grow(self._layout.volume(name), storage.volumes[name].size * GIB)
            for device in devices.get(name, ()):
                # Also when the file has its size already: the last daemon may have ended in between.
                loop_devices.update_size(device)

    def _attach(self, instance: str, name: str, size: int) -> None:
        image = self._layout.volume(name)
        if not image.exists():
            images.create(image, size)
        self._link(instance, name, loop_devices.attach(image))
        log.info("volume %s is attached to %s", name, instance)

    def _link(self, instance: str, name: str, device: str) -> None:
        folder = self._layout.devices(instance)
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary = folder / f".{name}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(device)
        temporary.rename(folder / name)

    def _detach(self, name: str, device: str) -> bool:
        """True when nothing writes to the file through the device any more."""
        loop = LoopDevice(device, str(self._layout.volume(name)))
        if loop_devices.detach(device):
            self._leaving.pop(loop, None)
            log.info("volume %s is detached", name)
            return True
        since = self._leaving.setdefault(loop, self._now())
        if self._now() < since + PATIENCE or not loop_devices.cut_off(loop):
            return False
        log.warning("volume %s was in use when it was detached: cut off", name)
        del self._leaving[loop]
        self._cut_off.add(loop)
        return True

    # -- instance store ----------------------------------------------------------------------------------------------

    def make_instance_store(self, instance: str, sizes: Sequence[int]) -> tuple[str, ...]:
        """Blank disks of so many GB, or those that the instance has; their paths in the machine. Raises OSError."""
        folder = self._layout.instance_stores / instance
        devices = {found.backing: found.device for found in loop_devices.attached(folder)}
        names = [f"nvme{index}n1" for index in range(1, len(sizes) + 1)]
        for name, size in zip(names, sizes, strict=True):
            image = folder / (name + SUFFIX)
            if not image.exists():
                images.create(image, size * GIGABYTE)
            self._link(instance, name, devices.get(str(image)) or loop_devices.attach(image))
        return tuple(f"{MACHINE_DEVICES}/{name}" for name in names)

    def forget_instance_stores(self, kept: Collection[str]) -> bool:
        """Of the instances that are not up: what was in their instance store is lost, as on EC2.

        False when one is still in use and has to be tried again soon.
        """
        folder = self._layout.instance_stores
        settled = True
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name not in kept:
                released = [loop_devices.detach(found.device) for found in loop_devices.attached(entry)]
                if all(released):
                    shutil.rmtree(entry)
                    log.info("instance store of %s is gone", entry.name)
                settled = settled and all(released)
        return settled


def _ids(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    return {path.name.removesuffix(SUFFIX) for path in folder.iterdir() if path.name.endswith(SUFFIX)}


def release_all(data_dir: Path) -> list[str]:
    """Detach every loop device of a region, also after its daemon was killed; the devices that are still in use.

    After the machines have ended. Content stays.
    """
    layout = Layout(data_dir.resolve())
    for link in layout.machines.glob("*/run/devices/*"):
        link.unlink(missing_ok=True)
    return [found.device for found in loop_devices.attached(layout.volumes) if not loop_devices.detach(found.device)]
