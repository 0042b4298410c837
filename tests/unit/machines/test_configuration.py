"""From an instance to the configuration of its node: what one side writes the other reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.machines.test_decision import instance
from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.eks.bootstrap import NodeSettings, user_data
from twinplane.cloud.eks.versions import kubelet_version, node_image
from twinplane.cloud.machines.record import Surroundings, credentials_record, machine_record
from twinplane.dataplane.node.configuration import BadMachine, load, node_configuration, parse_machine
from twinplane.dataplane.node.contract import Machine

SETTINGS = NodeSettings(
    cluster="demo",
    endpoint="https://127.0.0.1:6443",
    certificate_authority=base64.b64encode(b"PEM").decode(),
    service_cidr="10.100.0.0/16",
    nodegroup="workers",
    image_id="ami-1",
    capacity_type="ON_DEMAND",
    max_pods=29,
    labels={"twinplane.io/runtime": "containerd"},
    taints=({"key": "dedicated", "value": "web", "effect": "NO_SCHEDULE"},),
)
FACTS = {"vcpus": 2, "memoryMiB": 8192, "maxPods": 29}


async def nothing(*_: object) -> Sequence[str]:
    return ()


async def facts(_: str) -> dict[str, Any]:
    return FACTS


def surroundings() -> Surroundings:
    return Surroundings(
        region="us-west-2",
        account_id="123456789012",
        instance_type=facts,
        credentials=lambda arn, expiration=None: AwsCredentials("ASIA", "secret", arn),
        api_servers=nothing,
        host_address=lambda vpc, address: "100.64.0.4",
        kubernetes_version=lambda image: "v1.36.1-eks-1",
        instance_store=nothing,
    )


def record(data: str) -> dict[str, Any]:
    found = replace(
        instance("i-1"), private_dns_name="ip-10-0-0-4.us-west-2.compute.internal", user_data=data, cluster="demo"
    )
    servers = ["https://10.0.0.9:443"]
    return machine_record(found, surroundings(), FACTS, cgroup="/g", api_servers=servers, instance_store=())


def test_every_field_of_the_machine_is_written() -> None:
    machine = parse_machine(json.loads(json.dumps(record(""))))
    assert len(record("")) == len(fields(Machine))
    assert machine.api_servers == ("https://10.0.0.9:443",)
    assert (machine.host_address, machine.vcpus, machine.root_volume_gibibytes) == ("100.64.0.4", 2, 20)


def test_user_data_of_a_managed_node_group(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(record(user_data(SETTINGS))))
    node = load(path)
    assert node.name == "ip-10-0-0-4.us-west-2.compute.internal"
    assert node.provider_id == "aws:///us-west-2a/i-1"
    assert node.certificate_authority == "PEM"
    assert (node.service_cidr, node.cluster_dns, node.max_pods) == ("10.100.0.0/16", "10.100.0.10", 29)
    assert node.labels["twinplane.io/runtime"] == "containerd"
    assert node.taints == ({"key": "dedicated", "value": "web", "effect": "NoSchedule"},)
    assert node.kubernetes_version == "v1.36.1-eks-1"


def test_a_launch_template_of_the_user_comes_first_and_adds_to_it() -> None:
    theirs = (
        "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config:\n"
        "      evictionHard: {memory.available: 5%}\n      maxPods: 5\n"
    )
    node = node_configuration(parse_machine(record(user_data(SETTINGS, theirs))))
    assert node.kubelet["evictionHard"] == {"memory.available": "5%"}
    assert node.max_pods == 29


def test_what_makes_no_node_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadMachine, match="no NodeConfig"):
        node_configuration(parse_machine(record("#!/bin/sh\n")))
    with pytest.raises(BadMachine, match="instance_id"):
        parse_machine({})
    with pytest.raises(BadMachine, match="No such file"):
        load(tmp_path / "none")


def test_credentials_and_versions() -> None:
    found = credentials_record(AwsCredentials("A", "S", "T"), 5.0)
    assert found == {"accessKeyId": "A", "secretAccessKey": "S", "sessionToken": "T", "expiration": 5.0}
    image = node_image("us-west-2", "1.35", "AL2023_x86_64_STANDARD")
    assert image is not None
    assert kubelet_version("us-west-2", image.image_id) == "v1.35.4-eks-3abbec1"
    assert kubelet_version("us-west-2", "ami-custom").startswith("v1.36.")
