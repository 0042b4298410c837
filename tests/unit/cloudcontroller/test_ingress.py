"""Ingresses of class alb against moto."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cloudcontroller.world import (
    ENDPOINT_SLICES,
    INGRESSES,
    SERVICES,
    World,
    endpoint_slice,
    ingress,
    path,
    service,
    world,
)
from twinplane.cloud.loadbalancing.routes import wildcard
from twinplane.controlplane.cloudcontroller.elbv2.model import group_resource_name, resource_name
from twinplane.controlplane.cloudcontroller.ingress.model import path_patterns

PREFIX = "alb.ingress.kubernetes.io/"


async def node_ports(made: World) -> str:
    """A node and the Service `web` of type NodePort; the instance's id."""
    (one,) = made.account.run_instances(1)
    await made.add_nodes(one)
    await made.cluster.create(SERVICES, service(type="NodePort"))
    return one


async def test_an_ingress_gets_an_alb_that_routes_by_host_and_path() -> None:
    async with world() as made:
        one = await node_ports(made)
        await made.cluster.create(SERVICES, service("api", type="NodePort"))
        paths = [path("/", "web"), path("/api", "api"), path("/exact", "api", "Exact"), path("/*.gif", "api", "Wild")]
        spec = {"rules": [{"host": "shop.example.com", "http": {"paths": paths}}]}
        await made.cluster.create(INGRESSES, ingress(spec=spec, scheme="internet-facing"))
        await made.until(lambda: made.hostname("shop", INGRESSES))

        (balancer,) = made.balancers()
        assert (balancer["Type"], balancer["Scheme"]) == ("application", "internet-facing")
        assert balancer["LoadBalancerName"] == resource_name("shop", "shop", "demo")
        assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(made.account.public)
        (listener,) = made.listeners(balancer)
        assert (listener["Port"], listener["Protocol"]) == (80, "HTTP")
        assert listener["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "404"
        rules = sorted(made.rules(listener), key=lambda rule: int(rule["Priority"]))
        patterns = [rule["Conditions"][1]["PathPatternConfig"]["Values"] for rule in rules]
        assert patterns == [["/exact"], ["/api", "/api/*"], ["/*"], ["/*.gif"]]
        hosts = {rule["Conditions"][0]["HostHeaderConfig"]["Values"][0] for rule in rules}
        assert hosts == {"shop.example.com"}
        assert len(made.target_groups()) == 2
        for group in made.target_groups():
            assert made.targets(group["TargetGroupName"]) == {(one, 30080)}
            assert (group["HealthCheckPath"], group["HealthCheckIntervalSeconds"]) == ("/", 15)
        assert made.events.reasons == ["SuccessfullyReconciled"]


async def test_ip_targets_and_health_check_annotations() -> None:
    async with world() as made:
        await made.cluster.create(SERVICES, service(type="ClusterIP"))
        await made.cluster.create(ENDPOINT_SLICES, endpoint_slice("web", "192.168.96.9"))
        annotated = ingress(target_type="ip", healthcheck_path="/ready", healthcheck_interval_seconds="10")
        await made.cluster.create(INGRESSES, annotated)
        await made.until(lambda: made.hostname("shop", INGRESSES))
        (group,) = made.target_groups()
        assert made.targets(group["TargetGroupName"]) == {("192.168.96.9", 8080)}
        assert (group["HealthCheckPath"], group["HealthCheckIntervalSeconds"]) == ("/ready", 10)
        assert made.balancers()[0]["Scheme"] == "internal"

        patch = {"endpoints": [{"addresses": ["192.168.96.10"]}]}
        await made.cluster.patch(ENDPOINT_SLICES, "web-x1", patch, "shop")
        await made.until(lambda: made.targets(group["TargetGroupName"]) == {("192.168.96.10", 8080)})


async def test_a_group_shares_one_load_balancer_and_members_may_leave() -> None:
    async with world() as made:
        await node_ports(made)
        for name, order in (("second", "2"), ("first", "1")):
            spec = {"rules": [{"host": f"{name}.example.com", "http": {"paths": [path("/", "web")]}}]}
            await made.cluster.create(INGRESSES, ingress(name, spec=spec, group__name="all", group__order=order))
        await made.until(lambda: made.hostname("first", INGRESSES) and made.hostname("second", INGRESSES))
        (balancer,) = made.balancers()
        assert balancer["LoadBalancerName"] == group_resource_name("all", "demo")

        def hosts() -> list[str]:
            (listener,) = made.listeners(made.balancers()[0])
            rules = sorted(made.rules(listener), key=lambda rule: int(rule["Priority"]))
            return [rule["Conditions"][0]["HostHeaderConfig"]["Values"][0] for rule in rules]

        await made.until(lambda: hosts() == ["first.example.com", "second.example.com"])
        await made.cluster.delete(INGRESSES, "first", "shop")
        await made.until(lambda: hosts() == ["second.example.com"])
        assert made.cluster.object(INGRESSES, "first", "shop") is None

        await made.cluster.patch(INGRESSES, "second", {"spec": {"ingressClassName": "nginx"}}, "shop")
        await made.until(lambda: not made.balancers() and not made.hostname("second", INGRESSES))
        assert made.target_groups() == []
        left = made.cluster.object(INGRESSES, "second", "shop")
        assert left is not None
        assert not left["metadata"].get("finalizers")


async def test_actions_from_annotations() -> None:
    async with world() as made:
        await node_ports(made)
        redirect = {"type": "redirect", "redirectConfig": {"host": "new.example.com", "statusCode": "HTTP_302"}}
        fixed = {"type": "fixed-response", "fixedResponseConfig": {"contentType": "text/plain", "statusCode": "410"}}
        groups = [{"serviceName": "web", "servicePort": "80", "weight": 3}, {"serviceName": "web", "servicePort": 81}]
        weighted = {"type": "forward", "forwardConfig": {"targetGroups": groups}}
        await made.cluster.patch(
            SERVICES,
            "web",
            {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}]}},
            "shop",
        )
        paths = [path(f"/{name}", name, "Exact", "use-annotation") for name in ("away", "gone", "both")]
        written = ingress(spec={"rules": [{"http": {"paths": paths}}]})
        for name, action in (("away", redirect), ("gone", fixed), ("both", weighted)):
            written["metadata"]["annotations"][f"{PREFIX}actions.{name}"] = json.dumps(action)
        condition = [{"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X-Beta", "values": ["yes"]}}]
        written["metadata"]["annotations"][f"{PREFIX}conditions.gone"] = json.dumps(condition)
        await made.cluster.create(INGRESSES, written)
        await made.until(lambda: made.hostname("shop", INGRESSES))
        (listener,) = made.listeners(made.balancers()[0])
        away, gone, both = sorted(made.rules(listener), key=lambda rule: int(rule["Priority"]))
        assert away["Actions"][0]["RedirectConfig"] == {"Host": "new.example.com", "StatusCode": "HTTP_302"}
        assert gone["Actions"][0]["FixedResponseConfig"]["StatusCode"] == "410"
        assert gone["Conditions"][1]["HttpHeaderConfig"] == {"HttpHeaderName": "X-Beta", "Values": ["yes"]}
        assert sorted(entry["Weight"] for entry in both["Actions"][0]["ForwardConfig"]["TargetGroups"]) == [1, 3]

        made.account.calls.clear()
        await made.cluster.patch(INGRESSES, "shop", {"metadata": {"annotations": {"touched": "yes"}}}, "shop")
        await made.until(lambda: "DescribeRules" in made.account.calls)
        assert [call for call in made.account.calls if not call.startswith("Describe")] == []


async def test_a_missing_service_answers_503_until_it_is_there() -> None:
    async with world() as made:
        await made.cluster.create(INGRESSES, ingress())
        await made.until(lambda: made.hostname("shop", INGRESSES))
        (listener,) = made.listeners(made.balancers()[0])
        (rule,) = made.rules(listener)
        assert rule["Actions"][0]["FixedResponseConfig"]["MessageBody"] == "Backend service does not exist"
        await node_ports(made)
        await made.until(lambda: made.rules(listener)[0]["Actions"][0]["Type"] == "forward")


async def test_a_model_that_cannot_be_built_is_an_event() -> None:
    async with world() as made:
        await made.cluster.create(SERVICES, service(type="ClusterIP", spec={"ports": [{"port": 80}]}))
        await made.cluster.create(INGRESSES, ingress())
        await made.until(lambda: made.events.seen)
        assert made.events.seen[0] == (
            "Warning",
            "FailedBuildModel",
            (
                "Failed build model due to service type must be either 'NodePort' or 'LoadBalancer' "
                "for instance TargetType: shop/web"
            ),
        )
        assert made.balancers() == []


async def test_other_classes_are_left_alone() -> None:
    async with world() as made:
        other = ingress("other")
        other["spec"]["ingressClassName"] = "nginx"
        annotated = ingress("annotated")
        annotated["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "alb"
        del annotated["spec"]["ingressClassName"]
        await made.cluster.create(INGRESSES, other)
        await made.cluster.create(INGRESSES, annotated)
        await made.until(lambda: made.hostname("annotated", INGRESSES))
        assert len(made.balancers()) == 1


@given(st.text("ab/", max_size=6), st.text("ab/", max_size=8))
def test_a_prefix_matches_by_path_element(prefix: str, request: str) -> None:
    """As the Ingress API defines it: /foo matches /foo, /foo/ and /foo/bar, and not /foobar."""
    import re

    prefix, request = "/" + prefix.lstrip("/"), "/" + request
    wanted = prefix.rstrip("/")
    expected = request == wanted or request.startswith(wanted + "/")
    patterns = path_patterns(prefix, "Prefix")
    assert any(re.fullmatch(wildcard(pattern), request) for pattern in patterns) == expected
