"""Signatures, user data, capacities and small parsers: the facts that nodes are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.simulation.account import NODE_CONFIG
from twinplane.dataplane.aws import AwsError, parse_answer
from twinplane.dataplane.capacity import InstanceType, allocatable, capacity, default_max_pods
from twinplane.dataplane.simulation.config import SimulationConfig
from twinplane.dataplane.simulation.pod_spec import qos_class
from twinplane.dataplane.simulation.pod_status import full_image, image_id
from twinplane.dataplane.userdata import NodeSettings, node_settings

M5_LARGE = InstanceType("m5.large", 2, 8192, 3, 10, "x86_64", 26)


def test_node_config_in_mime() -> None:
    settings = node_settings(NODE_CONFIG)
    assert settings.max_pods == 29
    assert settings.labels == {"eks.amazonaws.com/nodegroup": "main", "eks.amazonaws.com/capacityType": "ON_DEMAND"}
    assert settings.taints == ({"key": "dedicated", "value": "x", "effect": "NoSchedule"},)


@pytest.mark.parametrize("text", ["", "#!/bin/bash\necho hello", "kind: NodeConfig\n  node.eks.aws: [", "{}"])
def test_other_user_data_says_nothing(text: str) -> None:
    assert node_settings(text) == NodeSettings()


def test_bare_node_config() -> None:
    text = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {flags: [--max-pods=17]}}"
    assert node_settings(text).max_pods == 17


def test_capacity_of_m5_large() -> None:
    assert default_max_pods(M5_LARGE) == 29
    assert capacity(M5_LARGE, 29)["pods"] == "29"
    there, left = capacity(M5_LARGE, 29), allocatable(M5_LARGE, 29)
    assert left["cpu"] == "1930m"
    reserved = int(there["memory"][:-2]) - int(left["memory"][:-2])
    assert reserved == (255 + 11 * 29 + 100) * 1024


@pytest.mark.parametrize(("vcpus", "milli"), [(1, 940), (2, 1930), (4, 3920), (8, 7910), (96, 95690)])
def test_reserved_cpu(vcpus: int, milli: int) -> None:
    kind = InstanceType("x", vcpus, 1024, 2, 2, "arm64", 26)
    assert allocatable(kind, 8)["cpu"] == f"{milli}m"


def test_ec2_errors_are_read() -> None:
    body = b"<Response><Errors><Error><Code>InvalidSubnet</Code><Message>no</Message></Error></Errors></Response>"
    with pytest.raises(AwsError) as caught:
        parse_answer(400, body)
    assert caught.value.code == "InvalidSubnet"
    with pytest.raises(AwsError):
        parse_answer(502, b"Bad gateway")
    assert parse_answer(200, b'<r xmlns="http://ec2/"><a>1</a></r>').findtext("a") == "1"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
        ("public.ecr.aws/x/y", "public.ecr.aws/x/y:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
    ],
)
def test_image_names(image: str, expected: str) -> None:
    assert full_image(image) == expected
    assert image_id(image).startswith(expected.rpartition(":")[0] + "@sha256:")


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert qos_class({"containers": [{"name": "c", "resources": resources}]}) == expected


def test_config_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "simulation.json"
    path.write_text('{"cluster": "demo", "colour": "blue"}')
    with pytest.raises(ValueError, match="unknown fields colour"):
        SimulationConfig.load(path)
    path.write_text('{"cluster": "demo"}')
    with pytest.raises(ValueError, match="missing"):
        SimulationConfig.load(path)
