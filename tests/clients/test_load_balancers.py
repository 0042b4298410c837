"""Bytes through the load balancers: Classic, NLB and ALB, from the host to pods."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

from tests.region_process import RegionProcess, eventually

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 3
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers: [{name: c, image: nginx, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, annotations: {ANNOTATIONS}}
spec:
  type: TYPE
  selector: {app: NAME}
  ports: [{port: 80, targetPort: 8080}]
---
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: routes}
spec:
  ingressClassName: alb
  rules:
    - host: a.example.com
      http:
        paths:
          - {path: /one, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
          - {path: /two, pathType: Exact, backend: {service: {name: two, port: {number: 80}}}}
"""


def app(name: str, kind: str, annotations: str = "") -> str:
    return APP.replace("NAME", name).replace("TYPE", kind).replace("ANNOTATIONS", annotations)


def fetch(url: str, host: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def url_of(region: RegionProcess, namespace: str, kind: str, name: str) -> str:
    """What `twinplane get loadbalancers` prints beside the host name in the status."""

    def hostname() -> str:
        status = region.get("-n", namespace, kind, name)["status"]
        return str((status.get("loadBalancer", {}).get("ingress") or [{}])[0].get("hostname", ""))

    name_in_status = eventually(hostname, f"{kind} {name} has a host name")

    def url() -> str:
        balancers = json.loads(region.run("twinplane", "get", "loadbalancers", "-o", "json"))
        return next((b["urls"][0] for b in balancers if b["dnsName"] == name_in_status and b["urls"]), "")

    return str(eventually(url, f"{name_in_status} has a URL")).rstrip("/")


def pods_behind(ask: Callable[[], tuple[int, str]], count: int) -> set[str]:
    """The pods that answer, asked until `count` were seen."""
    seen: set[str] = set()
    answers: list[tuple[int, str]] = []

    def all_seen() -> bool:
        answers.append(ask())
        status, body = answers[-1]
        if status == 200:
            seen.add(json.loads(body)["pod"])
        return len(seen) >= count

    try:
        eventually(all_seen, f"{count} pods answer")
    except AssertionError as error:
        raise AssertionError(f"{error}; seen {seen}, last answer {answers[-1]}") from None
    return seen


def test_classic_load_balancer_is_the_default(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=app("classic", "LoadBalancer"))
    url = url_of(region, namespace, "service", "classic")
    pods = pods_behind(lambda: fetch(url), 3)
    assert all(pod.startswith("classic-") for pod in pods)
    names = [b["LoadBalancerName"] for b in region.aws("elb", "describe-load-balancers")["LoadBalancerDescriptions"]]
    assert len(names) == 1
    region.kubectl("-n", namespace, "delete", "service", "classic")
    assert region.aws("elb", "describe-load-balancers")["LoadBalancerDescriptions"] == []


def test_network_load_balancer_by_annotation(region: RegionProcess, namespace: str) -> None:
    annotation = "service.beta.kubernetes.io/aws-load-balancer-type: nlb"
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=app("network", "LoadBalancer", annotation))
    url = url_of(region, namespace, "service", "network")
    pods_behind(lambda: fetch(url), 2)
    balancer = next(
        b for b in region.aws("elbv2", "describe-load-balancers")["LoadBalancers"] if b["Type"] == "network"
    )
    groups = region.aws("elbv2", "describe-target-groups", "--load-balancer-arn", balancer["LoadBalancerArn"])
    assert groups["TargetGroups"][0]["TargetType"] == "instance"
    region.kubectl("-n", namespace, "delete", "service", "network")
    assert all(b["Type"] != "network" for b in region.aws("elbv2", "describe-load-balancers")["LoadBalancers"])


def test_ingress_routes_by_host_and_path(region: RegionProcess, namespace: str) -> None:
    by_address = "alb.ingress.kubernetes.io/target-type: ip"
    manifests = app("one", "NodePort") + app("two", "NodePort", by_address) + INGRESS
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifests)
    url = url_of(region, namespace, "ingress", "routes")
    host = "a.example.com"
    # To a node port, an ALB keeps a connection open to each instance, and each stays with the pod it was given: all may
    # have been given the same one. Pods that are targets themselves take turns.
    assert all(pod.startswith("one-") for pod in pods_behind(lambda: fetch(url + "/one/deep", host), 1))
    assert all(pod.startswith("two-") for pod in pods_behind(lambda: fetch(url + "/two", host), 3))
    assert fetch(url + "/two/deep", host)[0] == 404
    assert fetch(url + "/one", "b.example.com")[0] == 404
    region.kubectl("-n", namespace, "delete", "ingress", "routes", "--timeout=180s")
