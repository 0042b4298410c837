"""What to do about disks: the account and what lies on this host in, a plan out. Pure; `data_path` applies it.

Steps are applied in the order of the fields. Copies come first, so that what is deleted in the same moment as it was
copied still gives its content; detaching comes before attaching, so that no file ever has two devices that are written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from twinplane.cloud.volumes.contract import Storage


@dataclass(frozen=True, slots=True)
class Present:
    """What lies on this host."""

    volumes: Collection[str] = ()
    """Ids of the volumes that have a file."""
    snapshots: Collection[str] = ()
    devices: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Volume id -> loop devices that show its file."""
    links: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(instance id, volume id) -> the device that the machine sees."""


@dataclass(frozen=True, slots=True)
class Plan:
    take_snapshots: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    """Volumes that start with the content of their snapshot."""
    unlink: tuple[tuple[str, str], ...] = ()
    detach: tuple[tuple[str, str], ...] = ()
    """(volume id, device)."""
    attach: tuple[tuple[str, str], ...] = ()
    """(instance id, volume id); a blank file is made if there is none."""
    delete_volumes: tuple[str, ...] = ()
    delete_snapshots: tuple[str, ...] = ()


def decide(storage: Storage, machines: Collection[str], present: Present) -> Plan:
    """`machines`: ids of the instances that are machines and not terminated."""
    wanted = {
        (volume.instance_id, name): volume for name, volume in storage.volumes.items() if volume.instance_id in machines
    }
    right = {
        link: device
        for link, device in present.links.items()
        if link in wanted and device in present.devices.get(link[1], ())
    }
    kept = {(name, device) for (_, name), device in right.items()}
    return Plan(
        take_snapshots=tuple(sorted(storage.snapshots.keys() - set(present.snapshots))),
        restore=tuple(
            sorted(
                name
                for name, volume in storage.volumes.items()
                if name not in present.volumes
                and (volume.snapshot_id in present.snapshots or volume.snapshot_id in storage.snapshots)
            )
        ),
        unlink=tuple(sorted(present.links.keys() - right.keys())),
        detach=tuple(
            sorted(
                (name, device)
                for name, devices in present.devices.items()
                for device in devices
                if (name, device) not in kept
            )
        ),
        attach=tuple(sorted(wanted.keys() - right.keys())),
        delete_volumes=tuple(sorted(set(present.volumes) - storage.volumes.keys())),
        delete_snapshots=tuple(sorted(set(present.snapshots) - storage.snapshots.keys())),
    )
