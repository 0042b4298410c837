"""Which flow a request belongs to: the bootstrap objects, precedence, and dealing queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.fakes import Cluster
from twinplane.controlplane.api.fairness.bootstrap import (
    FLOW_SCHEMAS,
    PRIORITY_LEVELS,
    SUGGESTED_LEVELS,
    SUGGESTED_SCHEMAS,
    level,
    schema,
)
from twinplane.controlplane.api.fairness.fairness import Fairness
from twinplane.controlplane.api.fairness.schemas import Limits, Queuing, hand_of
from twinplane.controlplane.api.routing import Route, route
from twinplane.controlplane.auth.contract import UserInfo

ALICE = UserInfo("alice", ("system:authenticated",))
POD = "/api/v1/namespaces/default/pods/x"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x"


def account(namespace: str, name: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)


@pytest.fixture
def cluster() -> Cluster:
    levels = [(PRIORITY_LEVELS, body) for body in SUGGESTED_LEVELS]
    return Cluster(*levels, *((FLOW_SCHEMAS, body) for body in SUGGESTED_SCHEMAS))


@pytest.mark.parametrize(
    ("user", "path", "expected"),
    [
        (UserInfo("root", ("system:masters", "system:authenticated")), POD, ("exempt", "exempt")),
        (ALICE, POD, ("global-default", "global-default")),
        (ALICE, "/readyz", ("probes", "exempt")),
        (ALICE, "/readyz/ping", ("global-default", "global-default")),
        (UserInfo("system:node:a", ("system:nodes", "system:authenticated")), POD, ("system-nodes", "system")),
        (
            UserInfo("system:node:a", ("system:nodes", "system:authenticated")),
            "/api/v1/nodes/a/status",
            ("system-node-high", "node-high"),
        ),
        (UserInfo("system:kube-scheduler"), LEASE, ("system-leader-election", "leader-election")),
        (UserInfo("system:kube-scheduler"), POD, ("kube-scheduler", "workload-high")),
        (account("kube-system", "coredns"), POD, ("kube-system-service-accounts", "workload-high")),
        (account("default", "app"), POD, ("service-accounts", "workload-low")),
    ],
)
async def test_the_bootstrap_flows(cluster: Cluster, user: UserInfo, path: str, expected: tuple[str, str]) -> None:
    flow = Fairness(cluster.reader, lambda _: 0).flow(user, route("GET", path, {}))
    assert (flow.schema.name, flow.level.name) == expected


async def test_mandatory_ones_are_in_force_without_objects() -> None:
    fairness = Fairness(Cluster().reader, lambda _: 0)
    assert fairness.flow(ALICE, route("GET", POD, {})).schema.name == "catch-all"
    assert fairness.flow(UserInfo("x", ("system:masters",)), route("GET", POD, {})).level.is_exempt
    assert fairness.flow(UserInfo("nobody"), route("GET", POD, {})).schema.name == "catch-all"


async def test_the_lowest_precedence_counts_and_changes_are_seen_in_the_next_turn(cluster: Cluster) -> None:
    fairness = Fairness(cluster.reader, lambda _: 0)
    where = route("GET", POD, {})
    assert fairness.flow(ALICE, where).schema.name == "global-default"
    subjects = [{"kind": "User", "user": {"name": "alice"}}]
    made = cluster.put(FLOW_SCHEMAS, schema("special", 700, "workload-high", "ByUser", subjects))
    import asyncio

    await asyncio.sleep(0)
    flow = fairness.flow(ALICE, where)
    assert (flow.schema.name, flow.level.name) == ("special", "workload-high")
    assert flow.headers["x-kubernetes-pf-flowschema-uid"] == made["metadata"]["uid"]


async def test_a_schema_without_its_level_is_passed_over(cluster: Cluster) -> None:
    subjects = [{"kind": "Group", "group": {"name": "*"}}]
    cluster.put(FLOW_SCHEMAS, schema("dangling", 700, "nosuch", "ByUser", subjects))
    fairness = Fairness(cluster.reader, lambda _: 0)
    assert fairness.flow(ALICE, route("GET", POD, {})).schema.name == "global-default"


async def test_the_seats_of_upstreams_shares(cluster: Cluster) -> None:
    fairness = Fairness(cluster.reader, lambda _: 0, total=600)
    fairness.flow(ALICE, route("GET", POD, {}))
    nominal = {each.name: each.nominal for each in fairness.levels()}
    assert nominal == {
        "exempt": 0,
        "catch-all": 13,
        "system": 74,
        "node-high": 98,
        "leader-election": 25,
        "workload-high": 98,
        "workload-low": 245,
        "global-default": 49,
    }


async def test_lists_and_watches_cost_by_what_they_read(cluster: Cluster) -> None:
    counts = {"pods": 250, "nodes": 10**6}
    fairness = Fairness(cluster.reader, lambda found: counts[found.resource])

    def seats(method: str, path: str, user: UserInfo = ALICE, **query: str) -> int:
        found = route(method, path, query)
        return fairness.seats(fairness.flow(user, found), found, query)

    assert seats("GET", "/api/v1/pods") == 3
    assert seats("GET", "/api/v1/nodes") == 10
    assert seats("GET", "/api/v1/nodes", watch="1") == 1
    assert seats("GET", "/api/v1/nodes", watch="1", sendInitialEvents="true") == 10
    assert seats("GET", POD) == seats("POST", "/api/v1/namespaces/default/pods") == 1
    assert seats("GET", f"{POD}/log") == 0
    assert seats("GET", "/api/v1/nodes", UserInfo("root", ("system:masters",))) == 0


@given(st.text(), st.integers(1, 128).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, min(n, 16)))))
def test_a_hand_has_as_many_different_queues_as_it_says(flow: str, sizes: tuple[int, int]) -> None:
    queues, hand_size = sizes
    hand = hand_of("schema", flow, Queuing(queues, hand_size, 50))
    assert len(set(hand)) == hand_size
    assert all(0 <= queue < queues for queue in hand)
    assert hand == hand_of("schema", flow, Queuing(queues, hand_size, 50))


def test_limits_read_defaults() -> None:
    body = {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}}
    assert Limits.of(body).queuing == Queuing(64, 8, 50)
    assert Limits.of(body).shares == 30
    assert Limits.of(level("x", 5, 10, None)).queuing is None


def test_routes_without_namespace_need_cluster_scope() -> None:
    assert Route("get", "/x").is_resource is False
