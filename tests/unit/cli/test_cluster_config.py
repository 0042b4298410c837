"""An eksctl ClusterConfig: what is read, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinplane.cli.eksctl import config, decoding
from twinplane.cli.eksctl.network import plan_subnets

HEAD = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata:\n  name: demo\n"


def load(text: str) -> config.ClusterConfig:
    return config.from_fields(decoding.decode(text, "f.yaml"), "us-west-2", "f.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(decoding.BadClusterConfig) as caught:
        load(text)
    return caught.value.problems


def test_example_file_is_read_whole() -> None:
    path = Path(__file__).parents[3] / "examples" / "cluster.yaml"
    loaded = load(path.read_text())
    assert loaded.name == "shop"
    assert [(group.name, group.desired) for group in loaded.node_groups] == [("general", 3), ("payments", 1)]
    assert loaded.node_groups[1].taints == (config.Taint("dedicated", "payments", "NoSchedule"),)


def test_defaults_are_those_of_eksctl() -> None:
    loaded = load(HEAD + "managedNodeGroups:\n- name: a\n")
    group = loaded.node_groups[0]
    assert (loaded.cidr, loaded.nat, loaded.authentication_mode) == ("192.168.0.0/16", "Single", "API_AND_CONFIG_MAP")
    assert (group.instance_types, group.volume_size) == (("m5.large",), 80)
    assert (group.desired, group.minimum, group.maximum) == (2, 2, 2)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("minSize: 3", (3, 3, 3)),
        ("maxSize: 5", (2, 2, 5)),
        ("maxSize: 1", (1, 1, 1)),
        ("desiredCapacity: 4", (4, 4, 4)),
        ("desiredCapacity: 4\n  minSize: 1\n  maxSize: 9", (4, 1, 9)),
        ("desiredCapacity: 0", (0, 0, 0)),
    ],
)
def test_sizes_follow_from_one_another(sizes: str, expected: tuple[int, int, int]) -> None:
    group = load(f"{HEAD}managedNodeGroups:\n- name: a\n  {sizes}\n").node_groups[0]
    assert (group.desired, group.minimum, group.maximum) == expected


def test_version_may_be_unquoted() -> None:
    assert load(HEAD + "  version: 1.36\n").version == "1.36"
    assert load(HEAD + "  version: 1.30\n").version == "1.30"


def test_every_complaint_names_its_line() -> None:
    text = (
        HEAD
        + "  colour: red\naddons: []\nmanagedNodeGroups:\n- name: a\n  desiredCapacity: two\n  ssh: {allow: true}\n"
    )
    assert problems(text) == [
        'f.yaml:5: unknown field "metadata.colour"',
        'f.yaml:6: field "addons" of eksctl is not supported yet',
        'f.yaml:9: field "managedNodeGroups[].desiredCapacity" must be an integer',
        'f.yaml:10: field "managedNodeGroups[].ssh" of eksctl is not supported yet',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "f.yaml:1: not valid YAML"),
        ("- 1\n", "f.yaml:1: expected a ClusterConfig object"),
        ("kind: ClusterConfig\n", "f.yaml:1: apiVersion must be eksctl.io/v1alpha5, got None"),
        (HEAD.replace("demo", ""), "f.yaml: metadata.name must be set"),
        (HEAD + "  region: eu-west-1\n", "f.yaml: metadata.region is 'eu-west-1', but this region is 'us-west-2'"),
        (HEAD + "vpc: {cidr: 10.0.0.0/28}\n", "f.yaml: vpc.cidr: VPC CIDR prefix must be between /16 and /24"),
        (HEAD + "vpc: {nat: {gateway: Many}}\n", "f.yaml: vpc.nat.gateway must be one of"),
        (HEAD + "managedNodeGroups: [{name: a}, {name: a}]\n", 'f.yaml: managedNodeGroups: name "a" is used more'),
        (HEAD + "managedNodeGroups: [{name: a, minSize: 3, maxSize: 1}]\n", "f.yaml: managedNodeGroups[a]: minSize 3"),
        (HEAD + "metadata: {name: b}\n", 'f.yaml:5: field "metadata" is given twice'),
        (HEAD + "managedNodeGroups: {name: a}\n", 'f.yaml:5: field "managedNodeGroups" must be a list'),
    ],
)
def test_what_eksctl_refuses_is_refused(text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(text)), problems(text)


def test_subnets_are_cut_as_eksctl_cuts_them() -> None:
    plans = plan_subnets("192.168.0.0/16", ("us-west-2a", "us-west-2b", "us-west-2c"))
    assert [(plan.zone[-1], plan.public, plan.cidr) for plan in plans] == [
        ("a", True, "192.168.0.0/19"),
        ("b", True, "192.168.32.0/19"),
        ("c", True, "192.168.64.0/19"),
        ("a", False, "192.168.96.0/19"),
        ("b", False, "192.168.128.0/19"),
        ("c", False, "192.168.160.0/19"),
    ]


def test_five_zones_are_cut_in_sixteen() -> None:
    plans = plan_subnets("10.0.0.0/16", tuple("abcde"))
    assert len({plan.cidr for plan in plans}) == 10
    assert plans[0].cidr == "10.0.0.0/20"


IDENTITIES = """iam:
  withOIDC: {oidc}
  serviceAccounts:
  - metadata: {{name: reader, namespace: backend}}
    attachPolicyARNs: [arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess]
    attachPolicy: {{Version: "2012-10-17", Statement: [{{Effect: Allow, Action: "sqs:*", Resource: "*"}}]}}
  podIdentityAssociations:
  - {{namespace: backend, serviceAccountName: worker, roleARN: "arn:aws:iam::123456789012:role/worker"}}
"""


def test_identities_of_pods_are_read() -> None:
    found = load(HEAD + IDENTITIES.format(oidc="true")).identities
    (account,), (association,) = found.service_accounts, found.associations
    assert (account.namespace, account.name) == ("backend", "reader")
    assert account.permissions.policy["Statement"][0]["Action"] == "sqs:*"
    assert association.role_arn.endswith(":role/worker")


def test_identities_that_eksctl_refuses() -> None:
    assert problems(HEAD + IDENTITIES.format(oidc="false")) == [
        "f.yaml: iam.withOIDC must be enabled explicitly for iam.serviceAccounts to be created"
    ]
    without = "iam:\n  podIdentityAssociations:\n  - {namespace: a, serviceAccountName: b}\n"
    assert "needs at least one of permissionPolicyARNs" in problems(HEAD + without)[0]
    known = "iam:\n  withOIDC: true\n  serviceAccounts:\n  - {wellKnownPolicies: {autoScaler: true}}\n"
    assert problems(HEAD + known) == [
        'f.yaml:8: field "iam.serviceAccounts[].wellKnownPolicies" of eksctl is not supported yet'
    ]
