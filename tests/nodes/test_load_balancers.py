"""Load balancers and security groups on real nodes: who is let through, whom targets see, and how soon a rule acts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.nodes.applications import PYTHON, SLEEPER, apply, image
from tests.nodes.load import fetch
from tests.region_process import RegionProcess, eventually

NLB = {
    "service.beta.kubernetes.io/aws-load-balancer-type": "external",
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
}
TARGET_TYPE = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"
ALB = {"alb.ingress.kubernetes.io/scheme": "internal", "alb.ingress.kubernetes.io/target-type": "ip"}

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
FETCH = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())
except OSError as error:
    print("failed", error)
"""
KNOCK = """
import socket, sys, time
before = None
while True:
    began = time.time()
    try:
        socket.create_connection((sys.argv[1], 8080), timeout=1).close()
        now = "open"
    except OSError:
        now = "closed"
    if now != before:
        print(now, began if now == "closed" else time.time(), flush=True)
    before = now
    time.sleep(0.02)
"""


class World:
    """A server on one node and a client on the other, in the module's namespace."""

    def __init__(self, region: RegionProcess, namespace: str) -> None:
        self.region = region
        self.namespace = namespace
        self._image = image(region)
        nodes = [item["metadata"]["name"] for item in region.get("nodes")["items"]]
        self.run_pod("server", SERVER, nodes[0])
        self.run_pod("client", SLEEPER, nodes[1])
        self.server = self.wait("server")["status"]["podIP"]
        self.wait("client")

    def run_pod(self, name: str, program: str, node: str, *arguments: str) -> None:
        container = {"name": "c", "image": self._image, "command": [PYTHON, "-c", program, *arguments]}
        spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app": name}}
        apply(self.region, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def wait(self, name: str) -> dict[str, Any]:
        self.region.kubectl("-n", self.namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
        found: dict[str, Any] = self.region.get("-n", self.namespace, "pod", name)
        return found

    def service(self, name: str, kind: str = "LoadBalancer", **annotations: str) -> None:
        spec = {"type": kind, "selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
        metadata = {"name": name, "namespace": self.namespace, "annotations": annotations}
        apply(self.region, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    def hostname(self, kind: str, name: str) -> str:
        def found() -> str:
            status = self.region.get("-n", self.namespace, kind, name)["status"]
            return str(((status.get("loadBalancer") or {}).get("ingress") or [{}])[0].get("hostname", ""))

        return str(eventually(found, f"{name} has a load balancer"))

    def fetch(self, url: str) -> str:
        """From the client's pod."""
        command = ("-n", self.namespace, "exec", "client", "--", PYTHON, "-c", FETCH, url)
        return self.region.kubectl(*command).strip()

    def interfaces(self, description: str) -> list[dict[str, Any]]:
        found = self.region.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
        return [interface for interface in found if interface["Description"].startswith(description)]

    def balancer(self, hostname: str) -> dict[str, Any]:
        found = self.region.client("elbv2").describe_load_balancers()["LoadBalancers"]
        return next(each for each in found if each["DNSName"] == hostname)

    def url(self, hostname: str) -> str:
        """Where this host reaches it."""
        listed = json.loads(self.region.run("twinplane", "get", "loadbalancers", "-o", "json"))
        return str(next(each["urls"][0] for each in listed if each["dnsName"] == hostname))


@pytest.fixture(scope="module")
def world(real_region: RegionProcess) -> Iterator[World]:
    real_region.kubectl("create", "namespace", "balanced")
    yield World(real_region, "balanced")
    # With the objects their load balancers go, which later modules would otherwise find in their subnets.
    real_region.kubectl("-n", "balanced", "delete", "services,ingresses", "--all", "--wait=true", "--timeout=180s")
    real_region.kubectl("delete", "namespace", "balanced", "--wait=false")


def check_interfaces(world: World, hostname: str) -> set[str]:
    """As AWS makes them; their addresses."""
    balancer = world.balancer(hostname)
    found = world.interfaces(f"ELB {balancer['LoadBalancerArn'].split('loadbalancer/')[1]}")
    assert {each["SubnetId"] for each in found} == {zone["SubnetId"] for zone in balancer["AvailabilityZones"]}
    assert all(each["RequesterManaged"] and each["Status"] == "in-use" for each in found)
    for each in found:
        assert {group["GroupId"] for group in each["Groups"]} == set(balancer.get("SecurityGroups", []))
    return {each["PrivateIpAddress"] for each in found}


@pytest.mark.parametrize("target_type", ["ip", "instance"])
def test_an_internal_network_load_balancer_answers_pods(world: World, target_type: str) -> None:
    name = f"net-{target_type}"
    world.service(name, **NLB, **{TARGET_TYPE: target_type})
    hostname = world.hostname("service", name)
    addresses = check_interfaces(world, hostname)
    seen = eventually(lambda: answered(world.fetch(f"http://{hostname}/")), "the client is answered by name")
    if target_type == "ip":
        # The pod is asked by the load balancer, and knows it by its interface.
        assert seen in addresses
    for address in addresses:
        assert answered(world.fetch(f"http://{address}/"))
    assert fetch(world.url(hostname), "/")


def answered(text: str) -> str:
    return "" if text.startswith("failed") else text


def test_an_application_load_balancer_is_known_by_its_groups(world: World) -> None:
    """Its security group lets clients in, and the pods' group lets it in: without either nothing is answered."""
    world.service("web", "ClusterIP")
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    metadata = {"name": "shop", "namespace": world.namespace, "annotations": ALB}
    spec = {"ingressClassName": "alb", "rules": rules}
    apply(
        world.region,
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec},
    )
    hostname = world.hostname("ingress", "shop")
    addresses = check_interfaces(world, hostname)
    seen = eventually(lambda: answered(world.fetch(f"http://{hostname}/")), "the client is answered by name")
    assert seen in addresses
    group = world.balancer(hostname)["SecurityGroups"][0]
    ec2 = world.region.client("ec2")
    permissions = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=permissions)
    eventually(lambda: not answered(world.fetch(f"http://{hostname}/")), "nobody is let in")
    assert fetch(world.url(hostname), "/") in addresses
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
    eventually(lambda: answered(world.fetch(f"http://{hostname}/")), "clients are let in again")


def test_security_groups_act_on_new_connections(world: World) -> None:
    """The rule that lets nodes speak to one another is taken away and given back, while a pod knocks at another."""
    described = world.region.client("eks").describe_cluster(name="real")["cluster"]
    group = described["resourcesVpcConfig"]["clusterSecurityGroupId"]
    ec2 = world.region.client("ec2")
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    own = [each for each in found if any(pair["GroupId"] == group for pair in each.get("UserIdGroupPairs", []))]
    client = world.region.get("-n", world.namespace, "pod", "client")["spec"]["nodeName"]
    world.run_pod("knocking", KNOCK, client, world.server)
    world.wait("knocking")
    eventually(partial(knocks, world, "open"), "the pod gets in")
    for _ in range(2):
        for change, wanted in (
            (ec2.revoke_security_group_ingress, "closed"),
            (ec2.authorize_security_group_ingress, "open"),
        ):
            change(GroupId=group, IpPermissions=own)
            called = time.time()
            eventually(partial(knocks, world, wanted), f"the way is {wanted}")
            print(f"{wanted} {answer(world)[1] - called:.2f} s after the answer to the call")


def knocks(world: World, wanted: str) -> bool:
    return answer(world)[0] == wanted


def answer(world: World) -> tuple[str, float]:
    """Whether the pod that knocks got in the last time, and since when. From the node's disk: the API server needs the
    same rule to reach the node."""
    logs = f"*/disk/var/log/pods/{world.namespace}_knocking_*/*/0.log"
    [log] = (world.region.directory.root / "machines").glob(logs)
    lines = log.read_text().splitlines() or ["- - - none 0"]
    state, since = lines[-1].split()[3:]
    return state, float(since)
