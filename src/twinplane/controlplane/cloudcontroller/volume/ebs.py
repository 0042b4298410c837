"""EBS volumes as claims and storage classes ask for them, and the PersistentVolumes that stand for them. Pure.

Parameters, tags and objects are those of the EBS CSI driver.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from string import ascii_lowercase
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import AwsError, Unbuildable, tag_list
from twinplane.controlplane.controllers.attachdetach.attachments import disk_of
from twinplane.controlplane.controllers.persistentvolume.volumes import PROVISIONED_BY, requested
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of, uid_of

DRIVER = "ebs.csi.aws.com"
IN_TREE = "kubernetes.io/aws-ebs"
ZONE = "topology.kubernetes.io/zone"
VOLUME_NAME_TAG = "CSIVolumeName"
GIB = 1 << 30
IOPS_MAX = 16_000
BUILT_IN = "twinplane.io/built-in"
"""Label of the CSIDriver object of every new cluster: the driver is the cloud controller and the node's agent."""
TAG_PARAMETER = "tagspecification_"
_template = re.compile(r"\{\{\s*\.(PVCNamespace|PVCName|PVName)\s*\}\}")


def handle_of(volume: Object | None) -> str:
    """Which EBS volume a PersistentVolume stands for; empty for none."""
    disk = disk_of(volume) if volume is not None else None
    return disk.handle if disk is not None and disk.driver == DRIVER else ""


def is_replaced(driver: Object | None) -> bool:
    """Somebody has installed the EBS CSI driver itself. `driver` is the CSIDriver object."""
    return driver is not None and BUILT_IN not in labels_of(driver)


def attach_failure(volume: str, instance: str, error: AwsError) -> str:
    """As the driver reports it through gRPC."""
    cause = f"operation error EC2: AttachVolume, https response error StatusCode: 400, api error {error.code}"
    if error.code == "AttachmentLimitExceeded":
        what = f'Attachment limit exceeded for volume "{volume}" on node "{instance}": attachment limit exceeded'
        return f"rpc error: code = ResourceExhausted desc = {what}: {cause}: {error.message}"
    what = f'ould not attach volume "{volume}" to node "{instance}"'
    return f"rpc error: code = Internal desc = C{what}: c{what}: {cause}: {error.message}"


def volume_name(claim: Object) -> str:
    return f"pvc-{uid_of(claim)}"


def gibibytes(claim: Object) -> int:
    return max(1, -(-requested(claim) // GIB))


def create_parameters(claim: Object, storage_class: Object, zone: str, cluster: str) -> dict[str, Any]:
    """Of ec2:CreateVolume. Raises `Unbuildable` for parameters that are no numbers."""
    given = {key.lower(): str(value) for key, value in (storage_class.get("parameters") or {}).items()}
    size = gibibytes(claim)
    result: dict[str, Any] = {
        "AvailabilityZone": zone,
        "Size": size,
        "VolumeType": given.get("type", "gp3"),
        "TagSpecifications": [
            {"ResourceType": "volume", "Tags": tag_list(_tags(claim, cluster) | _own_tags(claim, given))}
        ],
    }
    if "encrypted" in given or "kmskeyid" in given:
        result["Encrypted"] = given.get("encrypted", "true").lower() == "true"
    if "kmskeyid" in given:
        result["KmsKeyId"] = given["kmskeyid"]
    try:
        if "iops" in given:
            result["Iops"] = int(given["iops"])
        elif "iopspergb" in given:
            result["Iops"] = min(int(given["iopspergb"]) * size, IOPS_MAX)
        if "throughput" in given:
            result["Throughput"] = int(given["throughput"])
    except ValueError as error:
        raise Unbuildable(f"invalid parameter of StorageClass {name_of(storage_class)}: {error}") from error
    return result


def modify_parameters(attributes_class: Object) -> dict[str, Any]:
    """Of ec2:ModifyVolume, of a VolumeAttributesClass. Raises `Unbuildable`."""
    given = {key.lower(): str(value) for key, value in (attributes_class.get("parameters") or {}).items()}
    result: dict[str, Any] = {}
    for key, value in given.items():
        if key == "type":
            result["VolumeType"] = value
        elif key in ("iops", "throughput"):
            if not value.isdigit():
                raise Unbuildable(f'Could not parse {key.upper() if key == "iops" else key} "{value}"')
            result[key.capitalize()] = int(value)
        elif not key.startswith(TAG_PARAMETER):
            raise Unbuildable(f"Invalid mutable parameter key: {key}")
    return result


def with_attributes(storage_class: Object, attributes_class: Object | None) -> Object:
    """The class with the parameters that a VolumeAttributesClass says otherwise."""
    if attributes_class is None:
        return storage_class
    parameters = {key.lower(): value for key, value in (storage_class.get("parameters") or {}).items()}
    changed = {key.lower(): value for key, value in (attributes_class.get("parameters") or {}).items()}
    return {**storage_class, "parameters": parameters | changed}


def _tags(claim: Object, cluster: str) -> dict[str, str]:
    name = volume_name(claim)
    return {
        VOLUME_NAME_TAG: name,
        "Name": f"{cluster}-dynamic-{name}",
        "KubernetesCluster": cluster,
        "ebs.csi.aws.com/cluster": "true",
        f"kubernetes.io/cluster/{cluster}": "owned",
        "kubernetes.io/created-for/pv/name": name,
        "kubernetes.io/created-for/pvc/name": name_of(claim),
        "kubernetes.io/created-for/pvc/namespace": namespace_of(claim),
    }


def _own_tags(claim: Object, parameters: Mapping[str, str]) -> dict[str, str]:
    """Of the class: `tagSpecification_1: "team={{ .PVCNamespace }}"`. Raises `Unbuildable`."""
    known = {"PVCNamespace": namespace_of(claim), "PVCName": name_of(claim), "PVName": volume_name(claim)}
    found = {}
    for parameter, text in parameters.items():
        if parameter.startswith(TAG_PARAMETER):
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise Unbuildable(f"invalid tag specification {parameter}: {text}")
            found[key] = _template.sub(lambda match: known[match[1]], value)
    return found


def persistent_volume(claim: Object, storage_class: Object, volume: Mapping[str, Any]) -> Object:
    """`volume` as EC2 describes it."""
    parameters = {key.lower(): value for key, value in (storage_class.get("parameters") or {}).items()}
    filesystem = parameters.get("csi.storage.k8s.io/fstype") or parameters.get("fstype") or "ext4"
    source: dict[str, Any] = {"driver": DRIVER, "volumeHandle": volume["VolumeId"]}
    mode = claim["spec"].get("volumeMode") or "Filesystem"
    if mode == "Filesystem":
        source["fsType"] = filesystem
    expression = {"key": ZONE, "operator": "In", "values": [volume["AvailabilityZone"]]}
    spec = {
        "accessModes": list(claim["spec"].get("accessModes") or []),
        "capacity": {"storage": f"{volume['Size']}Gi"},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
            "resourceVersion": claim["metadata"]["resourceVersion"],
        },
        "csi": source,
        "mountOptions": storage_class.get("mountOptions"),
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": name_of(storage_class),
        "volumeAttributesClassName": claim["spec"].get("volumeAttributesClassName") or None,
        "volumeMode": mode,
    }
    metadata = {"name": volume_name(claim), "annotations": {PROVISIONED_BY: DRIVER}}
    return {"metadata": metadata, "spec": {key: value for key, value in spec.items() if value is not None}}


def zone_of(claim: Object, storage_class: Object, node: Object | None, zones: Collection[str]) -> str:
    """Of the node that was chosen; else one of the class's, or of the cluster's `zones`. Raises `Unbuildable`."""
    if node is not None:
        found = labels_of(node).get(ZONE, "")
        if not found:
            raise Unbuildable(f"node {name_of(node)} has no label {ZONE}")
        return found
    allowed = {
        value
        for term in storage_class.get("allowedTopologies") or []
        for expression in term.get("matchLabelExpressions") or []
        if expression["key"].endswith("/zone")
        for value in expression["values"]
    }
    choice = sorted(map(str, allowed or zones))
    if not choice:
        raise Unbuildable("no available topology found")
    # Spread, and the same again after a crash.
    return choice[sum(uid_of(claim).encode()) % len(choice)]


def free_device(taken: Collection[str]) -> str:
    """/dev/xvdaa to /dev/xvddz, as the driver names them. Raises `Unbuildable`."""
    names = (f"/dev/xvd{first}{second}" for first in "abcd" for second in ascii_lowercase)
    device = next((name for name in names if name not in taken), None)
    if device is None:
        raise Unbuildable("no more device names are available")
    return device
