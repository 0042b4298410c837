"""What a cluster is born with, and that it is put back."""

from __future__ import annotations

import ipaddress

import pytest

from tests.unit.auth.fakes import Cluster
from twinplane.controlplane.auth.bootstrap import AUTOUPDATE, desired_objects, ensure_bootstrap_objects
from twinplane.controlplane.auth.contract import ANONYMOUS, Attributes, UserInfo
from twinplane.controlplane.auth.policy import notation
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    PRIORITY_CLASSES,
    ROLES,
    SERVICES,
)


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    await ensure_bootstrap_objects(made)
    return made


def may(cluster: Cluster, who: UserInfo, verb: str, resource: str = "", namespace: str = "", **more: str) -> bool:
    attributes = Attributes(
        who, verb, more.get("group", ""), "v1", resource, namespace=namespace, path=more.get("path", "")
    )
    return RbacAuthorizer(cluster.reader).authorize(attributes).allowed


async def test_namespaces_classes_and_the_kubernetes_service(cluster: Cluster) -> None:
    reader = cluster.reader
    assert {each["metadata"]["name"] for each in reader.list(NAMESPACES)} == {
        "default",
        "kube-system",
        "kube-public",
        "kube-node-lease",
    }
    critical = reader.get(PRIORITY_CLASSES, "system-node-critical")
    assert critical is not None
    assert critical["value"] == 2000001000
    service = reader.get(SERVICES, "kubernetes", "default")
    assert service is not None
    assert service["spec"]["clusterIP"] == "10.100.0.1"
    assert cluster.writes[:4] == [("create", "namespaces", name) for *_, name in cluster.writes[:4]]


async def test_anonymous_sees_health_and_version_only(cluster: Cluster) -> None:
    assert all(may(cluster, ANONYMOUS, "get", path=path) for path in ("/healthz", "/livez", "/readyz", "/version"))
    assert not any(may(cluster, ANONYMOUS, "get", path=path) for path in ("/metrics", "/api", "/openapi/v3"))
    assert not may(cluster, ANONYMOUS, "list", "pods", "default")


async def test_users_and_components(cluster: Cluster) -> None:
    anybody = UserInfo("x", ("system:authenticated",))
    assert may(cluster, anybody, "get", path="/apis/apps/v1")
    assert may(cluster, anybody, "create", "selfsubjectaccessreviews", group="authorization.k8s.io")
    assert not may(cluster, anybody, "list", "pods", "default")
    scheduler = UserInfo("system:kube-scheduler")
    assert may(cluster, scheduler, "create", "bindings", "default")
    assert not may(cluster, scheduler, "create", "pods", "default")
    assert may(cluster, UserInfo("system:serviceaccount:kube-system:job-controller"), "create", "pods", "default")
    assert may(cluster, UserInfo("system:serviceaccount:kube-system:kube-proxy"), "watch", "services")
    assert not may(cluster, UserInfo("n", ("system:nodes",)), "get", "secrets", "default")


async def test_user_facing_roles_are_aggregated(cluster: Cluster) -> None:
    rules = {name: (cluster.reader.get(CLUSTER_ROLES, name) or {})["rules"] for name in ("admin", "edit", "view")}
    assert len(rules["admin"]) > len(rules["edit"]) > len(rules["view"]) > 0
    assert not any("secrets" in rule.get("resources", ()) for rule in rules["view"])
    edit = cluster.reader.get(CLUSTER_ROLES, "edit")
    assert edit is not None
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"
    assert edit["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults"


async def test_a_second_start_writes_nothing(cluster: Cluster) -> None:
    before = len(cluster.writes)
    await ensure_bootstrap_objects(cluster)
    assert len(cluster.writes) == before


async def test_what_was_taken_away_comes_back_and_what_was_added_stays(cluster: Cluster) -> None:
    role = copied(cluster.reader.get(CLUSTER_ROLES, "system:kube-dns"))
    assert role is not None
    role["rules"] = [notation.rule("get  configmaps")]
    cluster.put(CLUSTER_ROLES, role)
    cluster.remove(CLUSTER_ROLE_BINDINGS, "system:discovery")
    await ensure_bootstrap_objects(cluster)
    healed = cluster.reader.get(CLUSTER_ROLES, "system:kube-dns")
    assert healed is not None
    assert notation.rule("get  configmaps") in healed["rules"]
    assert notation.rule("list,watch  endpoints,services") in healed["rules"]
    assert cluster.reader.get(CLUSTER_ROLE_BINDINGS, "system:discovery")


async def test_autoupdate_off_is_respected(cluster: Cluster) -> None:
    role = copied(cluster.reader.get(CLUSTER_ROLES, "system:kube-dns"))
    assert role is not None
    role["rules"] = []
    role["metadata"]["annotations"][AUTOUPDATE] = "false"
    cluster.put(CLUSTER_ROLES, role)
    before = len(cluster.writes)
    await ensure_bootstrap_objects(cluster)
    assert len(cluster.writes) == before


async def test_two_replicas_may_start_at_once() -> None:
    import asyncio

    shared = Cluster()
    async with asyncio.TaskGroup() as group:
        group.create_task(ensure_bootstrap_objects(shared))
        group.create_task(ensure_bootstrap_objects(shared))
    assert len(shared.objects) == len(desired_objects())


def test_every_object_is_well_formed() -> None:
    desired = desired_objects("10.96.0.0/12")
    keys = [(each.resource, each.body["metadata"].get("namespace"), each.body["metadata"]["name"]) for each in desired]
    assert len(set(keys)) == len(keys)
    roles = {name for resource, _, name in keys if resource in (CLUSTER_ROLES, ROLES)}
    for resource, body in desired:
        assert body["kind"] == resource.kind
        assert body["apiVersion"] == resource.api_version
        if "roleRef" in body:
            assert body["roleRef"]["name"] in roles
        for rule in body.get("rules", ()):
            assert rule["verbs"]
            assert ("resources" in rule) != ("nonResourceURLs" in rule)
            if "*" in rule.get("resources", ()):
                assert "apiGroups" in rule
    assert ipaddress.ip_address(desired[-1].body["spec"]["clusterIP"]) == ipaddress.ip_address("10.96.0.1")


def test_notation() -> None:
    assert notation.rule("get,update  apps+extensions:deployments  web") == {
        "apiGroups": ["apps", "extensions"],
        "resources": ["deployments"],
        "verbs": ["get", "update"],
        "resourceNames": ["web"],
    }
    assert notation.rule("create  +events.k8s.io:events")["apiGroups"] == ["", "events.k8s.io"]
    assert notation.rule("*  *:*") == {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    assert notation.rule("*  /*") == {"nonResourceURLs": ["*"], "verbs": ["*"]}
    assert notation.rule("read  pods")["verbs"] == ["get", "list", "watch"]
