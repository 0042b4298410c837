from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cloud.regions import Region
from tests.unit.eks.clusters import NAME, Demo, make


async def test_one_minor_version_at_a_time(region: Region) -> None:
    demo = await make(region, version="1.34")
    error = await demo.refused("update_cluster_version", name=NAME, version="1.36")
    assert error["Error"]["Message"] == "Unsupported Kubernetes minor version update from 1.34 to 1.36"
    update = await demo.update("update_cluster_version", name=NAME, version="1.35")
    assert (update["type"], update["status"]) == ("VersionUpdate", "Successful")
    assert {"type": "Version", "value": "1.35"} in update["params"]
    cluster = await demo.cluster()
    assert (cluster["version"], cluster["status"]) == ("1.35", "ACTIVE")
    assert demo.region.control_planes.running[NAME].version == "1.35"
    assert (await demo.eks("list_updates", name=NAME))["updateIds"] == [update["id"]]


async def test_a_version_that_does_not_start_leaves_the_old_one(region: Region) -> None:
    demo = await make(region, version="1.35")
    region.control_planes.failure = "not ready"
    update = await demo.update("update_cluster_version", name=NAME, version="1.36")
    assert (update["status"], update["errors"][0]["errorMessage"]) == ("Failed", "not ready")
    cluster = await demo.cluster()
    assert (cluster["version"], cluster["status"]) == ("1.35", "ACTIVE")


@pytest.mark.parametrize(
    ("change", "type", "path", "value"),
    [
        (
            {"resourcesVpcConfig": {"endpointPrivateAccess": True}},
            "EndpointAccessUpdate",
            ("resourcesVpcConfig", "endpointPrivateAccess"),
            True,
        ),
        (
            {"upgradePolicy": {"supportType": "STANDARD"}},
            "UpgradePolicyUpdate",
            ("upgradePolicy", "supportType"),
            "STANDARD",
        ),
        (
            {"accessConfig": {"authenticationMode": "API"}},
            "AccessConfigUpdate",
            ("accessConfig", "authenticationMode"),
            "API",
        ),
        ({"deletionProtection": True}, "DeletionProtectionUpdate", ("deletionProtection",), True),
    ],
)
async def test_each_kind_of_configuration(
    demo: Demo, change: dict[str, Any], type: str, path: tuple[str, ...], value: object
) -> None:
    update = await demo.update("update_cluster_config", name=NAME, **change)
    assert (update["type"], update["status"]) == (type, "Successful")
    found: Any = await demo.cluster()
    for member in path:
        found = found[member]
    assert found == value


async def test_logging_is_switched_by_type(demo: Demo) -> None:
    on = {"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]}
    assert (await demo.update("update_cluster_config", name=NAME, logging=on))["type"] == "LoggingUpdate"
    assert (await demo.cluster())["logging"]["clusterLogging"] == [
        {"types": ["api", "audit"], "enabled": True},
        {"types": ["authenticator", "controllerManager", "scheduler"], "enabled": False},
    ]
    error = await demo.refused("update_cluster_config", name=NAME, logging=on)
    assert error["Error"]["Message"] == "No changes needed for the logging config provided"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "At least one configuration is required"),
        (
            {"upgradePolicy": {"supportType": "STANDARD"}, "accessConfig": {"authenticationMode": "API"}},
            "Only one type of update can be allowed",
        ),
        (
            {"resourcesVpcConfig": {"endpointPublicAccess": True}},
            "Cluster is already at the desired configuration with",
        ),
        ({"accessConfig": {"authenticationMode": "CONFIG_MAP"}}, "Unsupported authentication mode update from"),
    ],
)
async def test_what_changes_nothing_or_too_much_is_refused(demo: Demo, change: dict[str, Any], message: str) -> None:
    error = await demo.refused("update_cluster_config", name=NAME, **change)
    assert error["Error"]["Code"] == "InvalidParameterException"
    assert error["Error"]["Message"].startswith(message)


async def test_an_unknown_update(demo: Demo) -> None:
    error = await demo.refused("describe_update", name=NAME, updateId="nothing")
    assert error["Error"] == {"Code": "ResourceNotFoundException", "Message": "No update found for ID: nothing"}


async def test_the_versions_offered(demo: Demo) -> None:
    found = (await demo.eks("describe_cluster_versions"))["clusterVersions"]
    assert [version["clusterVersion"] for version in found] == ["1.36", "1.35", "1.34", "1.33"]
    assert [version["defaultVersion"] for version in found] == [True, False, False, False]
    assert found[0]["status"] == "STANDARD_SUPPORT" or found[0]["status"] == "standard-support"
    only = await demo.eks("describe_cluster_versions", defaultOnly=True)
    assert [version["clusterVersion"] for version in only["clusterVersions"]] == ["1.36"]


async def test_tags_of_clusters_and_node_groups(demo: Demo) -> None:
    group = await demo.add_nodegroup(tags={"team": "blue"})
    for arn in ((await demo.cluster())["arn"], group["nodegroupArn"]):
        await demo.eks("tag_resource", resourceArn=arn, tags={"a": "1", "b": "2"})
        await demo.eks("untag_resource", resourceArn=arn, tagKeys=["a"])
        assert (await demo.eks("list_tags_for_resource", resourceArn=arn))["tags"].items() >= {"b": "2"}.items()
    assert (await demo.nodegroup())["tags"] == {"team": "blue", "b": "2"}
    gone = await demo.refused("list_tags_for_resource", resourceArn=(await demo.cluster())["arn"] + "x")
    assert gone["Error"]["Code"] == "NotFoundException"
