"""Reads moto's volumes and snapshots into the records of `contract`. Only reads; run in moto's thread.

Root volumes are left out: a machine's root is a directory. So are snapshots of images of the catalogue.
"""

from __future__ import annotations

import sys
from typing import Any

from twinplane.cloud.volumes.contract import Snapshot, Storage, Volume


class MotoReader:
    """`read()` is the storage of one account in one region."""

    def __init__(self, account_id: str, region: str) -> None:
        self._account_id = account_id
        self._region = region

    def read(self) -> Storage | None:
        """None while the account does not exist: nothing may be concluded from that."""
        backends = getattr(sys.modules.get("moto.ec2.models"), "ec2_backends", None)
        if backends is None or self._account_id not in list(backends.keys()):
            return None
        regional = backends[self._account_id]
        if self._region not in list(regional.keys()):
            return None
        backend = regional[self._region]
        volumes = {volume.id: _volume(volume) for volume in list(backend.volumes.values()) if not _is_root(volume)}
        snapshots = {
            snapshot.id: Snapshot(
                snapshot.volume.id, int(snapshot.volume_size), getattr(snapshot, "twinplane_source", "")
            )
            for snapshot in list(backend.snapshots.values())
            if snapshot.from_ami is None
        }
        return Storage(volumes, snapshots)


def _volume(volume: Any) -> Volume:
    attachment = volume.attachment
    return Volume(int(volume.size), volume.snapshot_id or "", attachment.instance.id if attachment else "")


def _is_root(volume: Any) -> bool:
    attachment = volume.attachment
    return attachment is not None and attachment.device in (attachment.instance.root_device_name, "/dev/sda1")
