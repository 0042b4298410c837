"""From IAM principals to Kubernetes users: access entries, aws-auth, modes, templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.auth.fakes import Cluster, FixedClock, named
from twinplane.controlplane.auth.access import AccessEntry, AssociatedPolicy, AuthenticationMode, PolicyGrants
from twinplane.controlplane.auth.access_entries import AuthenticationModeOf, EksAccessEntries
from twinplane.controlplane.auth.access_policies import AccessPolicyAuthorizer
from twinplane.controlplane.auth.contract import Attributes, UserInfo
from twinplane.controlplane.auth.iam_mapping import IamMapper
from twinplane.controlplane.auth.iam_token import CallerIdentity, Identity, identity_of
from twinplane.kubeclient.resources import CONFIG_MAPS

ADMIN = identity_of(
    CallerIdentity("123456789012", "arn:aws:sts::123456789012:assumed-role/Admin/me@x", "AROA:me@x"), "AKID"
)
NODE = identity_of(
    CallerIdentity(
        "123456789012", "arn:aws:sts::123456789012:assumed-role/Node/i-0123456789abcdef0", "AROB:i-0123456789abcdef0"
    ),
    "AKID",
)
ADMIN_ROLE = "arn:aws:iam::123456789012:role/Admin"
NODE_ROLE = "arn:aws:iam::123456789012:role/Node"
AWS_AUTH = """
- rolearn: arn:aws:iam::123456789012:role/admin
  username: admin:{{SessionName}}
  groups: [system:masters, "team:{{SessionNameRaw}}"]
- rolearn: arn:aws:iam::123456789012:role/Node
  username: system:node:{{EC2PrivateDNSName}}
  groups: [system:bootstrappers, system:nodes]
"""


class Entries:
    def __init__(self, *entries: AccessEntry) -> None:
        self._by_arn = {entry.principal_arn: entry for entry in entries}

    async def lookup(self, arn: str) -> AccessEntry | None:
        return self._by_arn.get(arn)


async def private_dns_name(instance: str) -> str | None:
    return {"i-0123456789abcdef0": "ip-10-0-1-2.us-west-2.compute.internal"}.get(instance)


def mapper(
    *entries: AccessEntry, mode: AuthenticationMode = "API_AND_CONFIG_MAP", data: dict[str, str] | None = None
) -> tuple[IamMapper, PolicyGrants]:
    cluster = Cluster((CONFIG_MAPS, named("aws-auth", "kube-system", data=data or {})))
    grants = PolicyGrants()

    async def asked() -> AuthenticationMode:
        return mode

    made = IamMapper(
        mode=asked,
        entries=Entries(*entries),
        reader=cluster.reader,
        grants=grants,
        private_dns_name=private_dns_name,
    )
    return made, grants


async def test_an_access_entry_names_user_and_groups() -> None:
    made, _ = mapper(AccessEntry(ADMIN_ROLE, "arn:aws:sts::1:assumed-role/Admin/{{SessionName}}", ("viewers",)))
    user = await made.user(ADMIN)
    assert user is not None
    assert user.name == "arn:aws:sts::1:assumed-role/Admin/me-x"
    assert user.groups == ("viewers", "system:authenticated")
    assert user.uid == "aws-iam-authenticator:123456789012:AROA"
    assert user.extra["arn"] == (ADMIN.arn,)
    assert user.extra["canonicalArn"] == (ADMIN_ROLE,)
    assert user.extra["sessionName"] == ("me@x",)
    assert user.extra["accessKeyId"] == ("AKID",)
    assert user.extra["principalId"] == ("AROA",)


async def test_node_entries_become_node_users() -> None:
    made, _ = mapper(AccessEntry(NODE_ROLE, "", (), "EC2_LINUX"))
    user = await made.user(NODE)
    assert user is not None
    assert user.name == "system:node:ip-10-0-1-2.us-west-2.compute.internal"
    assert set(user.groups) >= {"system:nodes", "system:bootstrappers"}


async def test_a_node_entry_is_no_use_to_a_session_that_is_no_instance() -> None:
    made, _ = mapper(AccessEntry(ADMIN_ROLE, "", (), "EC2_LINUX"))
    assert await made.user(ADMIN) is None


async def test_aws_auth_maps_roles_without_regard_to_case() -> None:
    made, _ = mapper(data={"mapRoles": AWS_AUTH})
    user = await made.user(ADMIN)
    assert user is not None
    assert (user.name, user.groups[:2]) == ("admin:me-x", ("system:masters", "team:me@x"))
    node = await made.user(NODE)
    assert node is not None
    assert node.name.startswith("system:node:ip-10-0-1-2")


async def test_the_access_entry_wins_and_the_mode_decides() -> None:
    entry = AccessEntry(ADMIN_ROLE, "by-entry")
    expected: dict[AuthenticationMode, str] = {
        "API": "by-entry",
        "API_AND_CONFIG_MAP": "by-entry",
        "CONFIG_MAP": "admin:me-x",
    }
    for mode, wanted in expected.items():
        made, _ = mapper(entry, mode=mode, data={"mapRoles": AWS_AUTH})
        user = await made.user(ADMIN)
        assert user is not None
        assert user.name == wanted
    made, _ = mapper(mode="API", data={"mapRoles": AWS_AUTH})
    assert await made.user(ADMIN) is None


async def test_accounts_and_users_of_aws_auth() -> None:
    made, _ = mapper(
        data={"mapAccounts": "- 123456789012\n", "mapUsers": "- userarn: arn:aws:iam::9:user/bob\n  username: bob"}
    )
    user = await made.user(ADMIN)
    assert user is not None
    assert user.name == ADMIN_ROLE
    bob = await made.user(identity_of(CallerIdentity("9", "arn:aws:iam::9:user/bob", "AIDA"), "AKID"))
    assert bob is not None
    assert bob.name == "bob"


@pytest.mark.parametrize("text", ["{", "5", "- 5\n- rolearn: 7", "a: b"])
async def test_a_broken_aws_auth_maps_nobody(text: str) -> None:
    made, _ = mapper(data={"mapRoles": text})
    assert await made.user(ADMIN) is None


async def test_policies_of_an_entry_reach_the_authorizer_and_leave_it() -> None:
    view = AssociatedPolicy(
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy", "namespace", ("dev-*", "shop")
    )
    made, grants = mapper(AccessEntry(ADMIN_ROLE, "me", policies=(view,)))
    user = await made.user(ADMIN)
    assert user is not None
    authorizer = AccessPolicyAuthorizer(grants)

    def may(verb: str, resource: str, namespace: str, who: UserInfo = user) -> bool:
        return authorizer.authorize(Attributes(who, verb, "", "v1", resource, namespace=namespace)).allowed

    assert may("get", "pods", "shop")
    assert may("list", "pods", "dev-1")
    assert not may("get", "pods", "other")
    assert not may("get", "pods", "")
    assert not may("create", "pods", "shop")
    assert not may("get", "secrets", "shop")
    assert not may("get", "pods", "shop", UserInfo("me"))
    grants.put(ADMIN_ROLE, ())
    assert not may("get", "pods", "shop")


@pytest.mark.parametrize(
    ("policy", "allowed", "denied"),
    [
        ("AmazonEKSClusterAdminPolicy", ("delete", "nodes"), None),
        ("AmazonEKSAdminPolicy", ("create", "secrets"), ("delete", "nodes")),
        ("AmazonEKSAdminViewPolicy", ("get", "secrets"), ("create", "secrets")),
        ("AmazonEKSEditPolicy", ("create", "pods"), ("create", "resourcequotas")),
        ("AmazonEKSViewPolicy", ("list", "services"), ("get", "secrets")),
        ("SomethingElse", None, ("get", "pods")),
    ],
)
def test_access_policies(policy: str, allowed: tuple[str, str] | None, denied: tuple[str, str] | None) -> None:
    grants = PolicyGrants()
    grants.put("a", (AssociatedPolicy(f"arn:aws:eks::aws:cluster-access-policy/{policy}"),))
    authorizer = AccessPolicyAuthorizer(grants)
    user = UserInfo("me", extra={"canonicalArn": ("a",)})
    for expected, question in ((True, allowed), (False, denied)):
        if question:
            verb, resource = question
            asked = Attributes(user, verb, "", "v1", resource, namespace="shop")
            assert authorizer.authorize(asked).allowed is expected


def test_grants_are_bounded() -> None:
    grants = PolicyGrants(limit=2)
    for name in "abc":
        grants.put(name, (AssociatedPolicy("p"),))
    assert [bool(grants.of(name)) for name in "abc"] == [False, True, True]


class EksApi:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.entries: dict[str, dict[str, Any]] = {}
        self.down = False

    async def __call__(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if self.down:
            raise OSError("away")
        self.calls.append(operation)
        assert parameters["clusterName"] == "shop"
        if operation == "ListAccessEntries":
            names = sorted(self.entries)
            start = int(parameters.get("nextToken", "0"))
            more = {"nextToken": str(start + 1)} if start + 1 < len(names) else {}
            return {"accessEntries": names[start : start + 1], **more}
        entry = self.entries[parameters["principalArn"]]
        if operation == "DescribeAccessEntry":
            return {"accessEntry": entry}
        scope = {"type": "namespace", "namespaces": ["shop"]}
        return {"associatedAccessPolicies": [{"policyArn": "x/AmazonEKSViewPolicy", "accessScope": scope}]}


async def test_entries_are_read_from_the_eks_api_and_kept_for_seconds() -> None:
    api, clock = EksApi(), FixedClock()
    entries = EksAccessEntries("shop", api, clock)
    assert await entries.lookup(ADMIN_ROLE) is None
    with_path = "arn:aws:iam::123456789012:role/team/Admin"
    other = "arn:aws:iam::123456789012:role/AAA"
    for arn in (other, with_path):
        api.entries[arn] = {"principalArn": arn, "username": "me", "kubernetesGroups": ["g"], "type": "STANDARD"}
    entry = await entries.lookup(ADMIN_ROLE)
    assert entry is not None
    assert (entry.principal_arn, entry.username, entry.groups) == (with_path, "me", ("g",))
    assert entry.policies == (AssociatedPolicy("x/AmazonEKSViewPolicy", "namespace", ("shop",)),)
    asked = len(api.calls)
    assert await entries.lookup(ADMIN_ROLE) == entry
    assert len(api.calls) == asked
    clock.time += 10
    del api.entries[with_path]
    assert await entries.lookup(ADMIN_ROLE) is None


async def test_known_principals_stay_known_while_the_region_is_away() -> None:
    api, clock = EksApi(), FixedClock()
    entries = EksAccessEntries("shop", api, clock)
    api.entries[ADMIN_ROLE] = {"principalArn": ADMIN_ROLE, "username": "me"}
    entry = await entries.lookup(ADMIN_ROLE)
    api.down = True
    clock.time += 60
    assert await entries.lookup(ADMIN_ROLE) == entry
    with pytest.raises(OSError, match="away"):
        await entries.lookup(NODE_ROLE)


def test_identity_is_a_value() -> None:
    assert Identity(*(getattr(ADMIN, name) for name in Identity.__slots__)) == ADMIN


async def test_the_mode_is_the_clusters_and_survives_its_region() -> None:
    answers: list[dict[str, Any] | OSError] = []

    async def call(operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert (operation, parameters) == ("DescribeCluster", {"name": "demo"})
        answer = answers.pop()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def described(mode: str) -> dict[str, Any]:
        return {"cluster": {"accessConfig": {"authenticationMode": mode}}}

    clock = FixedClock(0.0)
    mode = AuthenticationModeOf("demo", call, clock)
    for answer, expected in (
        (OSError("away"), "API_AND_CONFIG_MAP"),
        (described("API"), "API"),
        (OSError("away"), "API"),
        (described("CONFIG_MAP"), "API_AND_CONFIG_MAP"),
    ):
        clock.time += 60
        answers.append(answer)
        assert await mode() == expected
        assert await mode() == expected, "within a few seconds it is not asked again"
