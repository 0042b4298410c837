"""From the parameters of CreateNodegroup to a record, and from a record to what AWS is asked for. Pure but for ids."""

from __future__ import annotations

from typing import Any

from twinplane.cloud.eks import versions
from twinplane.cloud.eks.bootstrap import NodeSettings
from twinplane.cloud.eks.call import Call, Context
from twinplane.cloud.eks.compute import ROOT_DEVICE, GroupSpec
from twinplane.cloud.eks.errors import invalid_parameter
from twinplane.cloud.eks.network import tag_list
from twinplane.cloud.eks.state import Record

DEFAULT_INSTANCE_TYPE = "t3.medium"
DEFAULT_DISK_GB = 20
DEFAULT_AMI_TYPE = "AL2023_x86_64_STANDARD"
_ARM_AMI_TYPE = "AL2023_ARM_64_STANDARD"
RUNTIME_LABEL = "twinplane.io/runtime"
"""`containerd` makes real nodes; as a tag it says so to whoever sees only the instance."""
_SIZES = {"minSize": 1, "maxSize": 2, "desiredSize": 2}


def new_nodegroup(context: Context, cluster: Record, call: Call, template: Record) -> Record:
    """The record of a new group, in the shape that DescribeNodegroup shows, plus `made`, `theirs` and `types`.

    Raises `EksError` for combinations that EKS refuses.
    """
    name, data = call["nodegroupName"], template.get("data", {})
    types = _instance_types(call, data)
    image_id = data.get("ImageId", "")
    if image_id and (call.get("amiType") or call.get("version") or call.get("releaseVersion")):
        raise invalid_parameter(
            "You cannot specify an AMI type, version or release version when the launch template specifies an image id"
        )
    if template and call.get("diskSize"):
        raise invalid_parameter("Disk size must be specified within the launch template.")
    if template and call.get("remoteAccess"):
        raise invalid_parameter("Remote access configuration cannot be specified with a launch template.")
    ami_type = "CUSTOM" if image_id else call.get("amiType") or _ami_type(types)
    version = call.get("version") or cluster["version"]
    _check_version(cluster["version"], version)
    image = versions.node_image(context.region, version, ami_type)
    if image is None and not image_id:
        raise invalid_parameter(f"AMI Type {ami_type} is not supported for kubernetes version {version}")
    if call.get("warmPoolConfig"):
        raise invalid_parameter("warmPoolConfig is not supported by this region yet")
    if not image_id:
        check_release(version, call.get("releaseVersion"))
    uuid, now = context.uuid(), context.now()
    record: Record = {
        "nodegroupName": name,
        "nodegroupArn": context.arn(f"nodegroup/{cluster['name']}/{name}/{uuid}"),
        "clusterName": cluster["name"],
        "version": version,
        "releaseVersion": image_id or call.get("releaseVersion") or versions.release_version(version),
        "createdAt": now,
        "modifiedAt": now,
        "status": "CREATING",
        "capacityType": call.get("capacityType", "ON_DEMAND"),
        "scalingConfig": sizes(call.get("scalingConfig"), _SIZES),
        "subnets": list(call["subnets"]),
        "remoteAccess": call.get("remoteAccess"),
        "amiType": ami_type,
        "nodeRole": call["nodeRole"],
        "labels": dict(call.get("labels", {})),
        "taints": list(call.get("taints", [])),
        "resources": {},
        "health": {"issues": []},
        "updateConfig": update_config(call.get("updateConfig")),
        "nodeRepairConfig": call.get("nodeRepairConfig"),
        "tags": dict(call.get("tags", {})),
        "types": types,
        "image": image_id or (image.image_id if image else ""),
        "made": {"template": f"eks-{uuid}", "profile": f"eks-{uuid}", "group": f"eks-{name}-{uuid}"},
        "theirs": {"data": data, "userData": template.get("userData", "")},
    }
    if template:
        record["launchTemplate"] = {key: template[key] for key in ("name", "version", "id")}
    if not data.get("InstanceType"):
        record["instanceTypes"] = types
    if not template:
        record["diskSize"] = call.get("diskSize", DEFAULT_DISK_GB)
    return record


def _instance_types(call: Call, data: Record) -> list[str]:
    asked = call.get("instanceTypes", [])
    if asked and data.get("InstanceType"):
        raise invalid_parameter(
            "Instance types can only be specified in either the launch template or the API request, but not both"
        )
    return list(asked) or [data.get("InstanceType") or DEFAULT_INSTANCE_TYPE]


def _ami_type(types: list[str]) -> str:
    """ARM instance types (m7g, t4g, c7gn, a1, ...) have a `g` after the generation."""
    family = types[0].split(".")[0]
    return _ARM_AMI_TYPE if "g" in family.lstrip("abcdefghijklmnopqrstuvwxyz") or family == "a1" else DEFAULT_AMI_TYPE


def _check_version(cluster: str, nodes: str) -> None:
    if versions.find(nodes) is None:
        raise invalid_parameter(f"unsupported Kubernetes version {nodes}")
    if versions.is_older(cluster, nodes):
        raise invalid_parameter(
            f"Nodegroup Kubernetes version {nodes} must not be newer than cluster version {cluster}"
        )


def check_release(version: str, release: str | None) -> None:
    if release and release != versions.release_version(version):
        raise invalid_parameter(f"Requested release version {release} is not valid for kubernetes version {version}.")


def sizes(asked: Record | None, current: Record) -> Record:
    """Raises InvalidParameterException unless minimum <= desired <= maximum."""
    found: dict[str, int] = {**current, **(asked or {})}
    if found["minSize"] > found["maxSize"]:
        raise invalid_parameter(
            f"Minimum capacity {found['minSize']} can't be greater than maximum size {found['maxSize']}"
        )
    if found["desiredSize"] < found["minSize"]:
        raise invalid_parameter(
            f"Minimum capacity {found['minSize']} can't be greater than desired size {found['desiredSize']}"
        )
    if found["desiredSize"] > found["maxSize"]:
        raise invalid_parameter(
            f"desired capacity {found['desiredSize']} can't be greater than max size {found['maxSize']}"
        )
    return found


def update_config(asked: Record | None) -> Record:
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    if "maxUnavailable" in given and "maxUnavailablePercentage" in given:
        raise invalid_parameter("You can only specify one of maxUnavailable or maxUnavailablePercentage")
    return given or {"maxUnavailable": 1}


def own_tags(group: Record) -> dict[str, str]:
    return {"eks:cluster-name": group["clusterName"], "eks:nodegroup-name": group["nodegroupName"]}


def propagated_tags(group: Record) -> dict[str, str]:
    """Tags of the Auto Scaling group that its instances get."""
    cluster = group["clusterName"]
    return {
        **own_tags(group),
        f"kubernetes.io/cluster/{cluster}": "owned",
        "k8s.io/cluster-autoscaler/enabled": "true",
        f"k8s.io/cluster-autoscaler/{cluster}": "owned",
    }


def group_spec(group: Record) -> GroupSpec:
    made, scaling = group["made"], group["scalingConfig"]
    return GroupSpec(
        name=made["group"],
        cluster=group["clusterName"],
        nodegroup=group["nodegroupName"],
        launch_template_id=made["templateId"],
        launch_template_version=made["templateVersion"],
        instance_types=tuple(group["types"]),
        spot=group["capacityType"] == "SPOT",
        subnets=tuple(group["subnets"]),
        minimum=scaling["minSize"],
        maximum=scaling["maxSize"],
        desired=scaling["desiredSize"],
        tags=propagated_tags(group),
    )


def node_settings(cluster: Record, group: Record, max_pods: int) -> NodeSettings:
    theirs = group.get("launchTemplate", {})
    return NodeSettings(
        cluster=cluster["name"],
        endpoint=cluster.get("endpoint", ""),
        certificate_authority=cluster["certificateAuthority"].get("data", ""),
        service_cidr=cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"],
        nodegroup=group["nodegroupName"],
        image_id=group["image"],
        capacity_type=group["capacityType"],
        source_launch_template=(theirs["id"], theirs["version"]) if theirs else None,
        max_pods=max_pods,
        labels=group["labels"],
        taints=tuple(group["taints"]),
    )


def template_data(cluster: Record, group: Record) -> dict[str, Any]:
    """Launch template data: the user's, completed by what every node of EKS has."""
    theirs = dict(group["theirs"]["data"])
    cluster_group = cluster["resourcesVpcConfig"].get("clusterSecurityGroupId")
    tags = own_tags(group) | {"Name": f"{group['clusterName']}-{group['nodegroupName']}-Node"}
    if RUNTIME_LABEL in group["labels"]:
        tags[RUNTIME_LABEL] = group["labels"][RUNTIME_LABEL]
    specifications = [
        {"ResourceType": kind, "Tags": _merged(theirs.get("TagSpecifications", []), kind, tags)}
        for kind in ("instance", "volume")
    ]
    disk = {"VolumeSize": group.get("diskSize", DEFAULT_DISK_GB), "VolumeType": "gp3", "DeleteOnTermination": True}
    return {
        "SecurityGroupIds": [cluster_group] if cluster_group else [],
        "BlockDeviceMappings": [{"DeviceName": ROOT_DEVICE, "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        **theirs,
        "ImageId": group["image"],
        "InstanceType": group["types"][0],
        "IamInstanceProfile": {"Name": group["made"]["profile"]},
        "TagSpecifications": specifications,
    }


def _merged(specifications: list[Record], kind: str, ours: dict[str, str]) -> list[dict[str, str]]:
    """The user's tags win over ours, except those that say where the node belongs."""
    theirs = {
        tag["Key"]: tag["Value"]
        for specification in specifications
        if specification["ResourceType"] == kind
        for tag in specification["Tags"]
    }
    return tag_list(ours | {key: value for key, value in theirs.items() if not key.startswith("eks:")})
