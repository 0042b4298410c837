"""A pod through the whole chain, the order of plugins, and that no odd shape is a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.admission.requests import ALICE, Operation, all_plugins, request, send
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission import chain
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.auth.bootstrap import ensure_bootstrap_objects
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    INGRESSES,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    ROLES,
    SERVICE_ACCOUNTS,
    SERVICES,
)


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    await ensure_bootstrap_objects(made)
    made.put(SERVICE_ACCOUNTS, named("default", "default"))
    return made


async def test_a_pod_gets_what_upstream_gives_it(cluster: Cluster) -> None:
    spec = {"containers": [{"name": "web", "image": "nginx"}], "priorityClassName": "system-node-critical"}
    pod = await send(request(PODS, named("web", "default", spec=spec)), *all_plugins(cluster))
    spec = pod["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert (spec["priority"], spec["preemptionPolicy"]) == (2000001000, "PreemptLowerPriority")
    assert [each["key"] for each in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    (volume,) = spec["volumes"]
    assert spec["containers"][0]["volumeMounts"] == [
        {
            "name": volume["name"],
            "readOnly": True,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }
    ]


def test_the_order_is_upstreams(cluster: Cluster) -> None:
    names = [plugin.name for plugin in all_plugins(cluster)]
    wanted = ["NamespaceLifecycle", "LimitRanger", "ServiceAccount", "PodSecurity", "Priority", "ResourceQuota"]
    assert [name for name in names if name in wanted] == wanted
    assert "PodNodeSelector" not in names


def test_plugins_are_switched_by_name(cluster: Cluster) -> None:
    names = [plugin.name for plugin in all_plugins(cluster, enable=["PodNodeSelector"], disable=["Priority"])]
    assert "PodNodeSelector" in names
    assert "Priority" not in names


nothing_much = st.none() | st.dictionaries(
    st.sampled_from(["a", "name", "type"]), st.none() | st.text(max_size=3), max_size=2
)
lists = st.none() | st.lists(nothing_much, max_size=2)
LIST_FIELDS = ("containers", "initContainers", "volumes", "tolerations", "ports", "rules", "subjects", "taints")
OBJECT_FIELDS = ("securityContext", "selector", "resources", "roleRef", "overhead", "affinity", "template")


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(LIST_FIELDS + OBJECT_FIELDS), max_size=5, unique=True))
    return {name: draw(lists if name in LIST_FIELDS else st.none() | st.just({})) for name in names}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    resource=st.sampled_from([PODS, SERVICES, NODES, PERSISTENT_VOLUME_CLAIMS, INGRESSES, ROLES, NAMESPACES]),
    spec=st.none() | specs(),
)
async def test_half_empty_objects_are_admitted_or_refused_but_no_crash(
    cluster: Cluster, resource: Resource, spec: dict[str, Any] | None
) -> None:
    cluster.put(LIMIT_RANGES, named("l", "default", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}))
    cluster.put(RESOURCE_QUOTAS, named("q", "default", spec={"hard": {"pods": "100", "services": "100"}}))
    body = named("x", "default" if resource.namespaced else "", **(spec or {}), spec=spec)
    refused: list[int] = []
    for old in (None, copied(body)):
        try:
            await send(request(resource, copied(body), old=old), *all_plugins(cluster))
        except ApiError as error:
            refused.append(error.code)
    assert all(code < 500 for code in refused)


@pytest.mark.parametrize("resource", [PODS, NAMESPACES, CONFIG_MAPS, SERVICES, ROLES], ids=lambda each: each.plural)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE"])
@pytest.mark.parametrize("subresource", ["", "status", "ephemeralcontainers"])
def test_plugins_that_go_by_type_look_at_nothing_else(
    resource: Resource, operation: Operation, subresource: str
) -> None:
    """They are asked once and for all."""
    kubelet = UserInfo("system:node:n", ("system:nodes", "system:masters"))
    plain = named("a", "shop")
    other = named("b", "other", spec={"x": 1}, metadata={"name": "b", "namespace": "other", "labels": {"l": "m"}})
    asked = [
        request(resource, body, operation=operation, subresource=subresource, user=user, dry_run=dry_run)
        for body, user, dry_run in ((plain, ALICE, False), (other, kubelet, True))
    ]
    for plugin in all_plugins(Cluster(), enable=chain.OFF_BY_DEFAULT):
        if isinstance(plugin, Plugin) and plugin.by_type:
            assert plugin.handles(asked[0]) == plugin.handles(asked[1]), plugin.name
