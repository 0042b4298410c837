"""RBAC: who may what, derived from live objects; escalation; the union with masters and nodes."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.authorization import default_authorizer, denial
from twinplane.controlplane.auth.contract import ANONYMOUS, Attributes, UserInfo
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.controlplane.auth.rules import Rule, compact, covers, described
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
)

ALICE = UserInfo("alice", ("dev", "system:authenticated"))
READ_PODS = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}


def rule(verbs: str = "", groups: str = "-", resources: str = "", names: str = "", urls: str = "") -> Object:
    """Words separated by spaces; `-` in groups is the core group."""
    return {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == "-" else group for group in groups.split()],
        "resources": resources.split(),
        "resourceNames": names.split(),
        "nonResourceURLs": urls.split(),
    }


def binding(name: str, role: str, *subjects: Object, namespace: str = "", kind: str = "ClusterRole") -> Object:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return named(name, namespace, roleRef=reference, subjects=list(subjects))


def user(name: str) -> Object:
    return {"kind": "User", "name": name}


def group(name: str) -> Object:
    return {"kind": "Group", "name": name}


def ask(
    cluster: Cluster | RbacAuthorizer, who: UserInfo, verb: str, resource: str, namespace: str = "shop", **more: Any
) -> bool:
    rbac = cluster if isinstance(cluster, RbacAuthorizer) else RbacAuthorizer(cluster.reader)
    plural, _, subresource = resource.partition("/")
    attributes = Attributes(
        who, verb, more.pop("group", ""), "v1", plural, subresource=subresource, namespace=namespace, **more
    )
    return rbac.authorize(attributes).allowed


@pytest.mark.parametrize(
    ("given_rule", "verb", "resource", "name", "allowed"),
    [
        (rule("get", "-", "pods"), "get", "pods", "a", True),
        (rule("get", "-", "pods"), "get", "pods/log", "a", False),
        (rule("get", "-", "pods/log"), "get", "pods/log", "a", True),
        (rule("get", "-", "pods/log"), "get", "pods", "a", False),
        (rule("get", "-", "*/log"), "get", "pods/log", "a", True),
        (rule("get", "-", "*/log"), "get", "pods", "a", False),
        (rule("get", "-", "*"), "get", "pods/log", "a", True),
        (rule("*", "-", "pods"), "delete", "pods", "a", True),
        (rule("list", "-", "pods"), "get", "pods", "a", False),
        (rule("get", "apps", "pods"), "get", "pods", "a", False),
        (rule("get", "*", "pods"), "get", "pods", "a", True),
        (rule("get", "-", "pods", "a b"), "get", "pods", "a", True),
        (rule("get", "-", "pods", "a b"), "get", "pods", "c", False),
        (rule("list", "-", "pods", "a b"), "list", "pods", "", False),
        (rule("get", urls="*"), "get", "pods", "a", False),
    ],
)
def test_rules(given_rule: Object, verb: str, resource: str, name: str, allowed: bool) -> None:
    plural, _, subresource = resource.partition("/")
    attributes = Attributes(ALICE, verb, "", "v1", plural, subresource=subresource, name=name)
    assert Rule.of(given_rule).allows(attributes) is allowed


@pytest.mark.parametrize(
    ("url", "path", "allowed"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/etcd", False),
        ("/healthz/*", "/healthz/etcd", True),
        ("/healthz/*", "/healthz", False),
        ("*", "/anything", True),
        ("/api*", "/apis/apps", True),
    ],
)
def test_urls(url: str, path: str, allowed: bool) -> None:
    assert Rule.of(rule("get", urls=url)).allows(Attributes(ALICE, "get", path=path)) is allowed


def test_bindings_by_user_group_and_service_account() -> None:
    account = {"kind": "ServiceAccount", "name": "build"}
    cluster = Cluster(
        (CLUSTER_ROLES, named("reader", rules=[READ_PODS])),
        (CLUSTER_ROLE_BINDINGS, binding("everywhere", "reader", user("bob"))),
        (ROLE_BINDINGS, binding("here", "reader", group("dev"), account, namespace="shop")),
    )
    assert ask(cluster, UserInfo("bob"), "get", "pods")
    assert ask(cluster, UserInfo("bob"), "list", "pods", "")
    assert ask(cluster, ALICE, "get", "pods/log")
    assert not ask(cluster, ALICE, "get", "pods", "other")
    assert not ask(cluster, ALICE, "list", "pods", "")
    assert ask(cluster, UserInfo("system:serviceaccount:shop:build"), "get", "pods")
    assert not ask(cluster, UserInfo("system:serviceaccount:other:build"), "get", "pods")
    assert not ask(cluster, UserInfo("dev"), "get", "pods")


def test_roles_belong_to_their_namespace() -> None:
    cluster = Cluster(
        (ROLES, named("reader", "shop", rules=[READ_PODS])),
        (ROLES, named("reader", "other", rules=[])),
        (ROLE_BINDINGS, binding("b", "reader", user("alice"), namespace="shop", kind="Role")),
        (ROLE_BINDINGS, binding("b", "reader", user("alice"), namespace="other", kind="Role")),
    )
    rbac = RbacAuthorizer(cluster.reader)
    assert ask(rbac, ALICE, "get", "pods", "shop")
    assert not ask(rbac, ALICE, "get", "pods", "other")


def test_changes_are_seen_at_once() -> None:
    cluster = Cluster()
    rbac = RbacAuthorizer(cluster.reader)
    assert not ask(rbac, ALICE, "get", "pods")
    cluster.put(CLUSTER_ROLE_BINDINGS, binding("b", "reader", user("alice")))
    asked = Attributes(ALICE, "get", "", "v1", "pods", namespace="shop")
    assert rbac.authorize(asked).reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found'
    cluster.put(CLUSTER_ROLES, named("reader", rules=[READ_PODS]))
    assert rbac.authorize(asked).reason == (
        'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to User "alice"'
    )
    cluster.put(CLUSTER_ROLES, named("reader", rules=[]))
    assert not rbac.authorize(asked).allowed
    cluster.put(CLUSTER_ROLES, named("reader", rules=[READ_PODS]))
    cluster.remove(CLUSTER_ROLE_BINDINGS, "b")
    assert not rbac.authorize(asked).allowed


def test_rules_for_a_review() -> None:
    cluster = Cluster(
        (CLUSTER_ROLES, named("reader", rules=[READ_PODS])),
        (CLUSTER_ROLE_BINDINGS, binding("b", "reader", group("dev"))),
        (ROLE_BINDINGS, binding("c", "gone", user("alice"), namespace="shop")),
    )
    assert RbacAuthorizer(cluster.reader).rules_for(ALICE, "shop") == [READ_PODS]


def test_the_usual_question_is_answered_in_microseconds() -> None:
    roles = [(CLUSTER_ROLES, named(f"role-{number}", rules=[READ_PODS])) for number in range(100)]
    bindings = [
        (CLUSTER_ROLE_BINDINGS, binding(f"b-{number}", f"role-{number}", user(f"user-{number}")))
        for number in range(100)
    ]
    rbac = RbacAuthorizer(Cluster(*roles, *bindings).reader)
    asked = Attributes(UserInfo("user-7", ("a", "b")), "get", "", "v1", "pods", namespace="shop")
    assert rbac.authorize(asked).allowed
    assert min(timeit.repeat(lambda: rbac.authorize(asked), number=1000, repeat=5)) / 1000 < 50e-6


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        ([rule("*", "*", "*")], [rule("get", "-", "pods")], 0),
        ([rule("get list", "-", "pods")], [rule("get", "-", "pods")], 0),
        ([rule("get", "-", "pods"), rule("list", "-", "pods")], [rule("get list", "-", "pods")], 0),
        ([rule("get", "-", "pods")], [rule("get delete", "-", "pods secrets")], 3),
        ([rule("get", "-", "pods", "a")], [rule("get", "-", "pods")], 1),
        ([rule("get", "-", "pods")], [rule("get", "-", "pods", "a")], 0),
        ([rule("get", "-", "*/scale")], [rule("get", "-", "x/scale")], 0),
        ([rule("get", "-", "pods")], [rule("*", "-", "pods")], 1),
        ([rule("get", urls="/healthz/*")], [rule("get", urls="/healthz/x /metrics")], 1),
    ],
)
def test_covers(owned: list[Object], wanted: list[Object], missing: int) -> None:
    assert len(covers(owned, wanted)) == missing


words = st.sampled_from(["*", "get", "list", "pods", "pods/log", "*/log", "apps", ""])
rules = st.builds(
    lambda verbs, groups, resources, names: {
        "verbs": verbs,
        "apiGroups": groups,
        "resources": resources,
        "resourceNames": names,
    },
    *[st.lists(words, max_size=2)] * 4,
)


@given(st.lists(rules, max_size=3))
def test_everybody_covers_what_they_own(owned: list[Object]) -> None:
    assert covers(owned, owned) == []


@given(st.lists(rules, max_size=3), rules, st.tuples(words, words, words, words))
def test_what_is_covered_allows_nothing_new(
    owned: list[Object], wanted: Object, asks: tuple[str, str, str, str]
) -> None:
    verb, resource, group, name = asks
    plural, _, subresource = resource.partition("/")
    asked = Attributes(ALICE, verb, group, "v1", plural, subresource=subresource, name=name)
    if not covers(owned, [wanted]) and Rule.of(wanted).allows(asked):
        assert any(Rule.of(each).allows(asked) for each in owned)


def test_missing_rules_are_described_as_upstream_does() -> None:
    (shown,) = compact(covers([], [rule("get list", "-", "pods")]))
    assert described(shown) == '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'
    assert described(rule("get", "", urls="/x")) == '{NonResourceURLs:["/x"], Verbs:["get"]}'


def test_the_union_lets_masters_pass_and_words_denials() -> None:
    cluster = Cluster()
    rbac = RbacAuthorizer(cluster.reader)
    union = default_authorizer(cluster.reader, rbac, PolicyGrants())
    assert union.authorize(Attributes(UserInfo("root", ("system:masters",)), "delete", path="/x")).allowed
    asked = Attributes(ANONYMOUS, "list", "apps", "v1", "deployments", subresource="scale", namespace="shop")
    assert not union.authorize(asked).allowed
    assert denial(asked) == (
        'User "system:anonymous" cannot list resource "deployments/scale" in API group "apps" in the namespace "shop"'
    )
    assert denial(Attributes(ANONYMOUS, "get", path="/metrics")) == 'User "system:anonymous" cannot get path "/metrics"'
    assert denial(Attributes(ALICE, "get", resource="nodes"), "x").endswith("at the cluster scope: x")


def test_decisions_for_all_names_and_for_one_are_kept_apart() -> None:
    cluster = Cluster()
    cluster.put(CLUSTER_ROLES, named("one", rules=[rule("get", "-", "pods", names="a")]))
    cluster.put(CLUSTER_ROLE_BINDINGS, binding("one", "one", user("alice")))
    rbac = RbacAuthorizer(cluster.reader)
    assert ask(rbac, ALICE, "get", "pods", name="a")
    assert not ask(rbac, ALICE, "get", "pods", name="b")
    assert not ask(rbac, ALICE, "get", "pods")
    cluster.put(CLUSTER_ROLES, named("one", rules=[rule("get", "-", "pods")]))
    assert ask(rbac, ALICE, "get", "pods", name="b")
    assert ask(rbac, ALICE, "get", "pods")
    cluster.put(CLUSTER_ROLES, named("one", rules=[rule("get", "-", "pods", names="b")]))
    assert not ask(rbac, ALICE, "get", "pods", name="a")
    assert ask(rbac, ALICE, "get", "pods", name="b")
