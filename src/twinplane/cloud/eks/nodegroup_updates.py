"""UpdateNodegroupConfig and UpdateNodegroupVersion."""

from __future__ import annotations

import math
from typing import Any

from twinplane.cloud.eks import nodegroup_plan, versions
from twinplane.cloud.eks.call import Call, Context, Operation
from twinplane.cloud.eks.errors import invalid_parameter
from twinplane.cloud.eks.nodegroups import Nodegroups
from twinplane.cloud.eks.state import Record
from twinplane.cloud.eks.updates import Updates, check_not_updating


class NodegroupUpdates:
    def __init__(self, context: Context, nodegroups: Nodegroups, updates: Updates) -> None:
        self._context = context
        self._nodegroups = nodegroups
        self._updates = updates
        updates.register("nodegroup", self._apply)

    def operations(self) -> dict[str, Operation]:
        return {"UpdateNodegroupConfig": self._config, "UpdateNodegroupVersion": self._version}

    async def _config(self, call: Call) -> Record:
        group = self._changeable(call)
        wanted: Record = {}
        params: dict[str, Any] = {}
        if call.get("labels"):
            wanted["labels"] = _changed_labels(group["labels"], call["labels"])
            params["LabelsToAdd"] = call["labels"].get("addOrUpdateLabels", {})
            params["LabelsToRemove"] = call["labels"].get("removeLabels", [])
        if call.get("taints"):
            wanted["taints"] = _changed_taints(group["taints"], call["taints"])
            params["TaintsToAdd"] = call["taints"].get("addOrUpdateTaints", [])
            params["TaintsToRemove"] = call["taints"].get("removeTaints", [])
        if call.get("scalingConfig"):
            current = await self._current_sizes(group)
            wanted["scalingConfig"] = nodegroup_plan.sizes(call["scalingConfig"], current)
            params |= {name[0].upper() + name[1:]: size for name, size in call["scalingConfig"].items()}
        if call.get("updateConfig"):
            wanted["updateConfig"] = nodegroup_plan.update_config(call["updateConfig"])
            params |= {name[0].upper() + name[1:]: value for name, value in wanted["updateConfig"].items()}
        if call.get("nodeRepairConfig"):
            wanted["nodeRepairConfig"] = call["nodeRepairConfig"]
            params["NodeRepairEnabled"] = call["nodeRepairConfig"].get("enabled", False)
        if not wanted:
            raise invalid_parameter("At least one configuration is required")
        return {"update": self._start(call, "ConfigUpdate", params, wanted)}

    async def _version(self, call: Call) -> Record:
        group = self._changeable(call)
        if call.get("launchTemplate"):
            return await self._launch_template(call, group)
        if group["amiType"] == "CUSTOM":
            raise invalid_parameter(
                "You cannot specify a version for a node group with a custom AMI: give it a launch template version"
            )
        cluster = self._context.cluster(call["clusterName"])
        version = call.get("version") or cluster["version"]
        image = versions.node_image(self._context.region, version, group["amiType"])
        if image is None:
            raise invalid_parameter(f"unsupported Kubernetes version {version}")
        if versions.is_older(cluster["version"], version):
            raise invalid_parameter(
                f"Nodegroup Kubernetes version {version} must not be newer than cluster version {cluster['version']}"
            )
        if versions.is_older(version, group["version"]):
            raise invalid_parameter(f"Nodegroup version cannot be downgraded from {group['version']} to {version}")
        nodegroup_plan.check_release(version, call.get("releaseVersion"))
        release = versions.release_version(version)
        wanted = {"version": version, "releaseVersion": release, "image": image.image_id}
        return {"update": self._start(call, "VersionUpdate", {"Version": version, "ReleaseVersion": release}, wanted)}

    async def _launch_template(self, call: Call, group: Record) -> Record:
        """Another version of the launch template that the group was made with."""
        if "launchTemplate" not in group:
            raise invalid_parameter("You cannot specify a launch template for a node group that was made without one")
        template = await self._nodegroups.launch_template(call["launchTemplate"])
        if template["id"] != group["launchTemplate"]["id"]:
            raise invalid_parameter("You cannot change the launch template of a node group, only its version")
        data = template["data"]
        wanted = {
            "launchTemplate": {key: template[key] for key in ("name", "version", "id")},
            "theirs": {"data": data, "userData": template["userData"]},
            "types": [data["InstanceType"]] if data.get("InstanceType") else group["types"],
            "image": data.get("ImageId") or group["image"],
        }
        params = {"LaunchTemplateName": template["name"], "LaunchTemplateVersion": template["version"]}
        return {"update": self._start(call, "VersionUpdate", params, wanted)}

    def _changeable(self, call: Call) -> Record:
        group = self._nodegroups.find(call["clusterName"], call["nodegroupName"])
        check_not_updating(group, "Nodegroup")
        return group

    def _start(self, call: Call, type: str, params: dict[str, Any], wanted: Record) -> Record:
        return self._updates.start("nodegroup", (call["clusterName"], call["nodegroupName"]), type, params, wanted)

    async def _current_sizes(self, group: Record) -> Record:
        found = await self._context.in_thread(self._nodegroups.compute.sizes, group["made"]["group"])
        if found is None:
            return dict(group["scalingConfig"])
        return dict(zip(("minSize", "maxSize", "desiredSize"), found, strict=True))

    async def _apply(self, update: Record) -> None:
        cluster_name, name = update["resource"]["key"]
        group, wanted = self._nodegroups.find(cluster_name, name), update["wanted"]
        group.update(wanted)
        group["modifiedAt"] = self._context.now()
        compute, in_thread = self._nodegroups.compute, self._context.in_thread
        replaces = bool({"image", "theirs"} & wanted.keys())
        if replaces or {"labels", "taints"} & wanted.keys():
            await self._nodegroups.launch(group)
            await in_thread(compute.use_version, nodegroup_plan.group_spec(group))
        if "scalingConfig" in wanted:
            size = wanted["scalingConfig"]
            await in_thread(
                compute.resize, group["made"]["group"], size["minSize"], size["maxSize"], size["desiredSize"]
            )
        if replaces:
            await in_thread(compute.replace_instances, group["made"]["group"], await self._at_once(group))
        await in_thread(compute.await_capacity, group["made"]["group"])

    async def _at_once(self, group: Record) -> int:
        """How many nodes may be replaced at the same time."""
        config = group["updateConfig"]
        if "maxUnavailable" in config:
            return int(config["maxUnavailable"])
        current = await self._current_sizes(group)
        share: float = current["desiredSize"] * config["maxUnavailablePercentage"] / 100
        return max(1, math.ceil(share))


def _changed_labels(current: dict[str, str], asked: Record) -> dict[str, str]:
    removed = set(asked.get("removeLabels", []))
    kept = {name: value for name, value in current.items() if name not in removed}
    return {**kept, **asked.get("addOrUpdateLabels", {})}


def _changed_taints(current: list[Record], asked: Record) -> list[Record]:
    """A taint is known by key and effect."""
    taints = {(taint["key"], taint["effect"]): taint for taint in current}
    for taint in asked.get("removeTaints", []):
        taints.pop((taint["key"], taint["effect"]), None)
    for taint in asked.get("addOrUpdateTaints", []):
        taints[taint["key"], taint["effect"]] = taint
    return list(taints.values())
