from __future__ import annotations

import email
from typing import Any

import yaml

from twinplane.cloud.eks.bootstrap import NODE_CONFIG_TYPE, NodeSettings, cluster_dns, user_data


def settings(**changes: Any) -> NodeSettings:
    values: dict[str, Any] = {
        "cluster": "demo",
        "endpoint": "https://127.0.0.1:6443",
        "certificate_authority": "Q0E=",
        "service_cidr": "10.100.0.0/16",
        "nodegroup": "ng",
        "image_id": "ami-1",
        "capacity_type": "ON_DEMAND",
        "max_pods": 29,
    }
    return NodeSettings(**(values | changes))


def parts(document: str) -> list[tuple[str, str]]:
    message = email.message_from_string(document)
    return [(part.get_content_type(), str(part.get_payload())) for part in message.walk() if not part.is_multipart()]


def parse(document: str) -> dict[str, Any]:
    """The NodeConfig of a document."""
    config: dict[str, Any] = yaml.safe_load(next(text for kind, text in parts(document) if kind == NODE_CONFIG_TYPE))
    return config


def test_the_node_config() -> None:
    config = parse(user_data(settings(labels={"a": "b"})))
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"]["cluster"] == {
        "name": "demo",
        "apiServerEndpoint": "https://127.0.0.1:6443",
        "certificateAuthority": "Q0E=",
        "cidr": "10.100.0.0/16",
    }
    assert config["spec"]["kubelet"]["config"] == {"maxPods": 29, "clusterDNS": ["10.100.0.10"]}
    labels = config["spec"]["kubelet"]["flags"][0].removeprefix("--node-labels=").split(",")
    assert labels == [
        "a=b",
        "eks.amazonaws.com/nodegroup-image=ami-1",
        "eks.amazonaws.com/capacityType=ON_DEMAND",
        "eks.amazonaws.com/nodegroup=ng",
    ]


def test_taints_are_registered() -> None:
    taints = ({"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}, {"key": "old", "effect": "NO_EXECUTE"})
    flags = parse(user_data(settings(taints=taints)))["spec"]["kubelet"]["flags"]
    assert flags[1] == "--register-with-taints=gpu=yes:NoSchedule,old=:NoExecute"


def test_parts_of_the_user_come_first() -> None:
    assert [kind for kind, _ in parts(user_data(settings(), "#!/bin/sh\necho"))] == [
        "text/x-shellscript",
        NODE_CONFIG_TYPE,
    ]
    nested = user_data(settings(cluster="theirs"), "#!/bin/sh")
    assert [kind for kind, _ in parts(user_data(settings(), nested))] == [
        "text/x-shellscript",
        NODE_CONFIG_TYPE,
        NODE_CONFIG_TYPE,
    ]


def test_cluster_dns_is_the_tenth_service_address() -> None:
    assert cluster_dns("172.20.0.0/16") == "172.20.0.10"
