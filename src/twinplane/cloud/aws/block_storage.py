"""EBS as EC2 has it where moto lets everything pass: what may be attached where, detached, grown, restored.

moto attaches a volume that is attached already, to instances of any zone, as often as one likes, and looks for what it
detaches by the device's name only. A snapshot there grows with its volume. The messages are EC2's.
"""

from __future__ import annotations

from typing import Any

from twinplane.cloud.aws.replacing import around

ATTACHABLE = frozenset({"pending", "running", "stopping", "stopped"})


def apply() -> None:
    from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore

    # Of the request only: what an instance is launched with goes past it.
    around(ElasticBlockStore, "attach_volume")(_attach)
    around(EBSBackend, "detach_volume")(_detach)
    around(EBSBackend, "create_volume")(_create)
    around(EBSBackend, "modify_volume")(_modify)
    around(EBSBackend, "create_snapshot")(_take_snapshot)
    around(EBSBackend, "copy_snapshot")(_copy_snapshot)
    Snapshot.volume_size = property(_size_of_snapshot)


def _error(code: str, message: str) -> Exception:
    from moto.ec2.exceptions import EC2ClientError

    error: Exception = EC2ClientError(code, message)
    return error


def _attach(original: Any, self: Any) -> Any:
    volume_id, instance_id = self._get_param("VolumeId"), self._get_param("InstanceId")
    volume, instance = self.ec2_backend.get_volume(volume_id), self.ec2_backend.get_instance(instance_id)
    device_path = self._get_param("Device")
    if volume.attachment is not None:
        raise _error("VolumeInUse", f"{volume_id} is already attached to an instance")
    if instance.state not in ATTACHABLE:
        raise _error("IncorrectState", f"Instance '{instance_id}' is not 'running'.")
    if instance.placement.zone and volume.availability_zone != instance.placement.zone:
        message = f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'"
        raise _error("InvalidVolume.ZoneMismatch", message)
    if device_path in instance.block_device_mapping:
        message = f"Invalid value '{device_path}' for unixDevice. Attachment point {device_path} is already in use"
        raise _error("InvalidParameterValue", message)
    limit = attachment_limit(instance)
    if len(instance.block_device_mapping) >= limit:
        message = (
            f"You may attach up to {limit} devices for this instance type. Please use a larger instance size to "
            "attach more volumes."
        )
        raise _error("AttachmentLimitExceeded", message)
    return original(self)


def attachment_limit(instance: Any) -> int:
    """Volumes, the root volume included; types with a shared limit have fewer when they have more interfaces."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    facts = INSTANCE_TYPES.get(instance.instance_type, {}).get("EbsInfo", {})
    limit = int(facts.get("MaximumEbsAttachments") or 27)
    shared = facts.get("AttachmentLimitType") == "shared" and facts.get("NvmeSupport") == "required"
    return limit - max(len(instance.nics) - 1, 0) if shared else limit


def _detach(original: Any, self: Any, volume_id: str, instance_id: str | None, device_path: str | None) -> Any:
    attachment = self.get_volume(volume_id).attachment
    if attachment is None:
        raise _error("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
    found = attachment.instance
    if instance_id and instance_id != found.id:
        self.get_instance(instance_id)
        message = f"The volume '{volume_id}' is not attached to instance '{instance_id}'."
        raise _error("InvalidAttachment.NotFound", message)
    if device_path and device_path != attachment.device:
        message = f"The volume '{volume_id}' is not attached to instance '{found.id}' as device '{device_path}'."
        raise _error("InvalidAttachment.NotFound", message)
    return original(self, volume_id, found.id, attachment.device)


def _create(original: Any, self: Any, *given: Any, **named: Any) -> Any:
    snapshot_id, size = named.get("snapshot_id"), named.get("size")
    if snapshot_id:
        least = int(self.get_snapshot(snapshot_id).volume_size)
        if size is None:
            named["size"] = least
        elif int(size) < least:
            message = f"Volume of {size}GiB is smaller than snapshot '{snapshot_id}', expect size >= {least}GiB"
            raise _error("InvalidParameterValue", message)
    return original(self, *given, **named)


def _modify(original: Any, self: Any, volume_id: str, target_size: Any = None, *rest: Any, **named: Any) -> Any:
    volume = self.get_volume(volume_id)
    if target_size is not None and int(target_size) < int(volume.size):
        raise _error("InvalidParameterValue", f"New size cannot be smaller than existing size {volume.size}")
    return original(self, volume_id, target_size, *rest, **named)


def _take_snapshot(original: Any, self: Any, *given: Any, **named: Any) -> Any:
    return _sized(original(self, *given, **named))


def _copy_snapshot(original: Any, self: Any, source_snapshot_id: str, *given: Any, **named: Any) -> Any:
    copied = original(self, source_snapshot_id, *given, **named)
    source = self.snapshots.get(source_snapshot_id)
    copied.twinplane_size = source.volume_size if source is not None else copied.volume.size
    copied.twinplane_source = source_snapshot_id
    return copied


def _sized(snapshot: Any) -> Any:
    snapshot.twinplane_size = snapshot.volume.size
    return snapshot


def _size_of_snapshot(self: Any) -> int:
    return int(getattr(self, "twinplane_size", self.volume.size))
