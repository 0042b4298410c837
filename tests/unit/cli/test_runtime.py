"""`--runtime`, and the label that says the same in a ClusterConfig."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.test_cluster_config import HEAD, load, problems
from twinplane.cli.eksctl import config
from twinplane.cli.eksctl.runtime import check_host
from twinplane.cli.output import CommandError
from twinplane.cloud.eks.nodegroup_plan import RUNTIME_LABEL, template_data
from twinplane.cloud.machines import requirements

LABEL = HEAD + "managedNodeGroups:\n- name: a\n  labels: {twinplane.io/runtime: %s}\n"


def test_the_label_and_the_flag_say_the_same() -> None:
    assert load(LABEL % "containerd").node_groups[0].runtime == "containerd"
    assert config.default_node_group("a", 1, "m5.large", "containerd").labels == {RUNTIME_LABEL: "containerd"}
    assert config.default_node_group("a", 1, "m5.large").runtime == "simulated"
    (problem,) = problems(LABEL % "docker")
    assert problem.endswith("label twinplane.io/runtime 'docker' is not one of simulated, containerd")


def test_a_host_that_cannot_is_told_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [config.default_node_group("a", 1, "m5.large", "containerd")]
    monkeypatch.setattr(requirements, "PROGRAMS", {"no-such-containerd": "containerd", "no-such-runc": "runc"})
    with pytest.raises(CommandError) as caught:
        check_host(groups, tmp_path)
    assert "apt-get install containerd." in str(caught.value)
    assert "apt-get install runc." in str(caught.value)
    check_host([config.default_node_group("a", 1, "m5.large")], tmp_path)


def test_instances_of_a_real_group_carry_the_tag() -> None:
    group: dict[str, object] = {
        "clusterName": "demo",
        "nodegroupName": "a",
        "labels": {RUNTIME_LABEL: "containerd", "team": "x"},
        "theirs": {"data": {}},
        "image": "ami-1",
        "types": ["m5.large"],
        "made": {"profile": "p"},
    }
    tags = {tag["Key"]: tag["Value"] for tag in _instance_tags(group)}
    assert tags["twinplane.io/runtime"] == "containerd"
    assert "team" not in tags
    assert not any(tag["Key"] == RUNTIME_LABEL for tag in _instance_tags({**group, "labels": {}}))


def _instance_tags(group: dict[str, object]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = template_data({"resourcesVpcConfig": {}}, group)["TagSpecifications"][0]["Tags"]
    return found
