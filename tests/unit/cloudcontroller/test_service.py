"""Services of type LoadBalancer against moto: the classic, the NLB, and everything that goes away again."""

from __future__ import annotations

from typing import Any

from tests.unit.cloudcontroller.world import (
    ENDPOINT_SLICES,
    NODES,
    SERVICES,
    World,
    endpoint_slice,
    node,
    service,
    world,
)

TYPE = "service.beta.kubernetes.io/aws-load-balancer-type"


async def test_a_service_gets_a_classic_load_balancer_of_all_ready_nodes() -> None:
    async with world() as made:
        one, two = made.account.run_instances(2)
        await made.add_nodes(one)
        await made.cluster.create(NODES, node("not-ready", two, ready=False))
        stored = await made.cluster.create(SERVICES, service())
        await made.until(lambda: made.hostname("web"))

        (balancer,) = made.classic()
        assert balancer["LoadBalancerName"] == ("a" + stored["metadata"]["uid"].replace("-", ""))[:32]
        assert balancer["DNSName"] == made.hostname("web")
        assert [entry["InstanceId"] for entry in balancer["Instances"]] == [one]
        assert set(balancer["Subnets"]) == set(made.account.public)
        (listener,) = balancer["ListenerDescriptions"]
        assert (listener["Listener"]["LoadBalancerPort"], listener["Listener"]["InstancePort"]) == (80, 30080)
        assert balancer["HealthCheck"] == {
            "Target": "TCP:30080",
            "Interval": 10,
            "Timeout": 5,
            "HealthyThreshold": 2,
            "UnhealthyThreshold": 6,
        }
        name = f"k8s-elb-{balancer['LoadBalancerName']}"
        assert balancer["SecurityGroups"] == [made.security_groups()[name]["GroupId"]]
        tags = made.account.client("elb").describe_tags(LoadBalancerNames=[balancer["LoadBalancerName"]])
        assert {tag["Key"]: tag["Value"] for tag in tags["TagDescriptions"][0]["Tags"]} == {
            "kubernetes.io/cluster/demo": "owned",
            "kubernetes.io/service-name": "shop/web",
        }
        found = made.cluster.object(SERVICES, "web", "shop")
        assert found is not None
        assert found["metadata"]["finalizers"] == ["service.kubernetes.io/load-balancer-cleanup"]
        assert made.events.reasons == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


async def test_nodes_that_come_and_go_are_registered_and_deregistered() -> None:
    async with world() as made:
        one, two = made.account.run_instances(2)
        await made.add_nodes(one)
        await made.cluster.create(SERVICES, service())
        await made.until(lambda: made.hostname("web"))
        await made.cluster.create(NODES, node("second", two))
        await made.until(lambda: len(made.classic()[0]["Instances"]) == 2)
        await made.cluster.delete(NODES, f"node-{one}-0")
        await made.until(lambda: [entry["InstanceId"] for entry in made.classic()[0]["Instances"]] == [two])
        assert made.events.reasons[2:] == ["UpdatedLoadBalancer", "UpdatedLoadBalancer"]


async def test_an_nlb_has_a_target_group_a_port_and_deletion_leaves_nothing() -> None:
    async with world() as made:
        (one,) = made.account.run_instances(1)
        await made.add_nodes(one)
        groups_before = set(made.security_groups())
        await made.cluster.create(SERVICES, nlb())
        await made.until(lambda: made.hostname("web"))
        (balancer,) = made.balancers()
        assert (balancer["Type"], balancer["Scheme"]) == ("network", "internet-facing")
        assert {listener["Port"] for listener in made.listeners(balancer)} == {80, 443}
        names = sorted(group["TargetGroupName"] for group in made.target_groups())
        assert len(names) == 2
        assert all(name.startswith("k8s-shop-web-") for name in names)
        assert {port for name in names for _, port in made.targets(name)} == {30080, 30443}
        name = balancer["LoadBalancerName"]
        opened = made.rules_for_nodes(f"={name}")
        assert ("tcp", 30080, "0.0.0.0/0", f"kubernetes.io/rule/nlb/client={name}") in opened
        assert {rule[3].split("/")[-1].split("=")[0] for rule in opened} == {"client", "health", "mtu"}

        await made.cluster.delete(SERVICES, "web", "shop")
        await made.until(lambda: made.cluster.object(SERVICES, "web", "shop") is None)
        assert (made.balancers(), made.target_groups()) == ([], [])
        assert set(made.security_groups()) == groups_before
        assert made.rules_for_nodes(f"={name}") == set()


def nlb() -> dict[str, Any]:
    ports = [
        {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
        {"name": "https", "port": 443, "nodePort": 30443, "protocol": "TCP"},
    ]
    made = service(spec={"ports": ports})
    made["metadata"]["annotations"][TYPE] = "nlb"
    return made


async def test_a_changed_type_moves_the_service_and_cleans_up() -> None:
    async with world() as made:
        (one,) = made.account.run_instances(1)
        await made.add_nodes(one)
        groups_before = set(made.security_groups())
        await made.cluster.create(SERVICES, service())
        await made.until(lambda: made.hostname("web"))

        await made.cluster.patch(SERVICES, "web", {"metadata": {"annotations": {TYPE: "nlb"}}}, "shop")
        await made.until(made.balancers)
        await made.until(lambda: made.hostname("web") == made.balancers()[0]["DNSName"])
        assert made.classic() == []
        assert set(made.security_groups()) == groups_before

        await made.cluster.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "shop")
        await made.until(lambda: not made.balancers() and not made.hostname("web"))
        found = made.cluster.object(SERVICES, "web", "shop")
        assert found is not None
        assert not found["metadata"].get("finalizers")


async def test_ip_targets_follow_the_endpoint_slices() -> None:
    async with world() as made:
        await made.cluster.create(ENDPOINT_SLICES, endpoint_slice("web", "192.168.96.9", "192.168.96.10"))
        await made.cluster.create(SERVICES, external_ip())
        await made.until(lambda: made.hostname("web"))
        (balancer,) = made.balancers()
        assert balancer["Scheme"] == "internal"
        (group,) = made.target_groups()
        assert (group["TargetType"], group["Port"]) == ("ip", 8080)
        assert made.targets(group["TargetGroupName"]) == {("192.168.96.9", 8080), ("192.168.96.10", 8080)}

        patch = {"endpoints": [{"addresses": ["192.168.96.10"]}, {"addresses": ["192.168.96.11"]}]}
        await made.cluster.patch(ENDPOINT_SLICES, "web-x1", patch, "shop")
        wanted = {("192.168.96.10", 8080), ("192.168.96.11", 8080)}
        await made.until(lambda: made.targets(group["TargetGroupName"]) == wanted)


def external_ip() -> dict[str, Any]:
    made = service(nlb_target_type="ip")
    made["metadata"]["annotations"][TYPE] = "external"
    return made


async def test_a_local_traffic_policy_asks_nodes_for_their_endpoints() -> None:
    async with world() as made:
        (one,) = made.account.run_instances(1)
        await made.add_nodes(one)
        local = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32001}
        await made.cluster.create(SERVICES, service(spec=service()["spec"] | local))
        await made.until(lambda: made.hostname("web"))
        assert made.classic()[0]["HealthCheck"]["Target"] == "HTTP:32001/healthz"


async def test_other_classes_and_types_are_left_alone() -> None:
    async with world() as made:
        await made.cluster.create(SERVICES, service("other", spec=service()["spec"] | {"loadBalancerClass": "a.b/c"}))
        await made.cluster.create(SERVICES, service("plain", type="ClusterIP"))
        await made.cluster.create(SERVICES, service("mine", spec=service()["spec"]))
        await made.until(lambda: made.hostname("mine"))
        assert len(made.classic()) == 1
        assert made.events.reasons.count("EnsuredLoadBalancer") == 1


async def test_what_cannot_be_built_is_an_event_and_is_tried_again() -> None:
    async with world() as made:
        udp = [{"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"}]
        await made.cluster.create(SERVICES, service(spec={"ports": udp}))
        await made.until(lambda: "SyncLoadBalancerFailed" in made.events.reasons)
        message = next(text for _, reason, text in made.events.seen if reason == "SyncLoadBalancerFailed")
        assert message == (
            "Error syncing load balancer: failed to ensure load balancer: "
            "Only TCP LoadBalancer is supported for AWS ELB"
        )
        assert made.classic() == []


async def test_a_second_look_changes_nothing() -> None:
    async with world() as made:
        (one,) = made.account.run_instances(1)
        await made.add_nodes(one)
        await made.cluster.create(SERVICES, service("classic"))
        await made.cluster.create(SERVICES, service("net") | {"metadata": {**nlb()["metadata"], "name": "net"}})
        await made.until(lambda: made.hostname("classic") and made.hostname("net"))
        made.account.calls.clear()
        await touch(made, "classic")
        await touch(made, "net")
        await made.until(lambda: made.account.calls.count("DescribeTargetGroups") >= 2)
        assert [call for call in made.account.calls if not call.startswith("Describe")] == []


async def touch(made: World, name: str) -> None:
    await made.cluster.patch(SERVICES, name, {"metadata": {"annotations": {"touched": "yes"}}}, "shop")
