"""What the data path of EBS needs to know of the account, and where its files lie.

    DATA/volumes/vol-....img                     content of a volume that a machine uses, or that came from a snapshot
    DATA/volumes/instance-store/i-.../NAME.img   instance store, gone with the instance
    DATA/snapshots/snap-....img
    DATA/machines/i-.../run/devices/vol-...      link to the loop device, while it is attached to that machine

`run` is /run/twinplane in the machine, whose /dev is the host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30
SUFFIX = ".img"
MACHINE_DEVICES = "/run/twinplane/devices"


@dataclass(frozen=True, slots=True)
class Volume:
    size: int
    """GiB."""
    snapshot_id: str = ""
    instance_id: str = ""
    """Where it is attached, other than as a root volume."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    volume_id: str
    size: int
    """GiB."""
    source: str = ""
    """The snapshot that it is a copy of."""


@dataclass(frozen=True, slots=True)
class Storage:
    """By id."""

    volumes: Mapping[str, Volume] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    data_dir: Path

    @property
    def volumes(self) -> Path:
        return self.data_dir / "volumes"

    @property
    def snapshots(self) -> Path:
        return self.data_dir / "snapshots"

    @property
    def instance_stores(self) -> Path:
        return self.volumes / "instance-store"

    @property
    def machines(self) -> Path:
        return self.data_dir / "machines"

    def volume(self, volume_id: str) -> Path:
        return self.volumes / (volume_id + SUFFIX)

    def snapshot(self, snapshot_id: str) -> Path:
        return self.snapshots / (snapshot_id + SUFFIX)

    def devices(self, instance_id: str) -> Path:
        return self.machines / instance_id / "run" / "devices"
