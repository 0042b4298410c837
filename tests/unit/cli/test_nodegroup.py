"""Node groups that cannot be made are refused before anything is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twinplane.cli.eksctl import nodegroup
from twinplane.cli.eksctl.account import Account
from twinplane.cli.eksctl.config import ClusterConfig, NodeGroup, default_node_group
from twinplane.cli.eksctl.vpc import Network, Subnet
from twinplane.cli.output import CommandError, Progress

NETWORK = Network("vpc-1", [Subnet("subnet-a", "us-west-2a", True), Subnet("subnet-b", "us-west-2b", False)])
GROUP = default_node_group("ng", 1, "m5.large")


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (replace(GROUP, zones=("us-west-2x",)), 'no public subnets for nodegroup "ng" in us-west-2x'),
        (replace(GROUP, zones=("us-west-2a", "us-west-2b")), 'no public subnets for nodegroup "ng" in us-west-2b'),
        (
            replace(GROUP, zones=("us-west-2a",), private_networking=True),
            'no private subnets for nodegroup "ng" in us-west-2a',
        ),
    ],
)
def test_a_zone_without_subnets(group: NodeGroup, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = ClusterConfig("demo", "us-west-2", "", node_groups=(replace(GROUP, name="good"), group))
    account = Account.__new__(Account)
    with pytest.raises(CommandError, match=problem):
        nodegroup.create_all(account, config, NETWORK, {"version": "1.36"}, Progress())
    assert "creating" not in "".join(capsys.readouterr())
