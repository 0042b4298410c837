"""The official kubectl against a cluster: the daily verbs, and what it says when something is wrong."""

from __future__ import annotations

import json

from tests.region_process import RegionProcess, eventually

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "nginx:1.29", ports: [{containerPort: 80}]}
"""


def test_nodes_are_named_labelled_and_ready_as_on_eks(region: RegionProcess) -> None:
    nodes = region.get("nodes")["items"]
    assert len(nodes) == 3
    for node in nodes:
        labels = node["metadata"]["labels"]
        assert node["metadata"]["name"].startswith("ip-192-168-")
        assert node["metadata"]["name"].endswith(".us-west-2.compute.internal")
        assert labels["eks.amazonaws.com/nodegroup"] == "ng"
        assert labels["node.kubernetes.io/instance-type"] == "m5.large"
        assert labels["topology.kubernetes.io/region"] == "us-west-2"
        assert node["spec"]["providerID"].startswith(f"aws:///{labels['topology.kubernetes.io/zone']}/i-")
        assert node["status"]["allocatable"]["pods"] == "29"
    zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
    assert len(zones) == 3


def test_apply_rollout_scale_undo(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=WEB)
    region.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    assert "unchanged" in region.kubectl("-n", namespace, "apply", "-f", "-", stdin=WEB)
    region.kubectl("-n", namespace, "set", "image", "deployment/web", "web=nginx:1.30")
    region.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    assert len(region.kubectl("-n", namespace, "rollout", "history", "deployment/web").strip().splitlines()) == 4
    region.kubectl("-n", namespace, "rollout", "undo", "deployment/web")
    region.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    image = region.get("-n", namespace, "deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "nginx:1.29"
    region.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=5")
    region.kubectl(
        "-n", namespace, "wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=5", "--timeout=180s"
    )


def test_tables_have_upstreams_columns(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=WEB)
    region.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    pods = region.kubectl("-n", namespace, "get", "pods", "-o", "wide").splitlines()
    assert pods[0].split("  ")[0] == "NAME"
    for column in ("READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"):
        assert column in pods[0]
    assert "1/1" in pods[1]
    assert "Running" in pods[1]
    assert region.kubectl("-n", namespace, "get", "deployments").splitlines()[0].split() == [
        "NAME",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "AGE",
    ]


def test_server_side_apply_finds_conflicts(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "apply", "--server-side", "-f", "-", stdin=WEB)
    changed = WEB.replace("replicas: 2", "replicas: 4")
    refused = region.attempt(
        "kubectl", "-n", namespace, "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=changed
    )
    assert refused.returncode == 1
    assert 'conflict with "kubectl"' in refused.stderr
    assert ".spec.replicas" in refused.stderr
    region.kubectl(
        "-n",
        namespace,
        "apply",
        "--server-side",
        "--field-manager=other",
        "--force-conflicts",
        "-f",
        "-",
        stdin=changed,
    )
    assert region.get("-n", namespace, "deployment", "web")["spec"]["replicas"] == 4


def test_explain_and_api_resources(region: RegionProcess) -> None:
    explained = region.kubectl("explain", "pod.spec.containers.resources")
    assert "KIND:       Pod" in explained
    assert "limits" in explained
    resources = region.kubectl("api-resources", "--no-headers")
    assert "deployments" in resources
    assert "flowschemas" in resources
    assert "apps/v1" in region.kubectl("api-versions").splitlines()


def test_logs_show_the_life_of_a_simulated_pod(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "run", "solo", "--image=nginx:1.29")
    region.kubectl("-n", namespace, "wait", "pod/solo", "--for=condition=Ready", "--timeout=180s")
    assert region.kubectl("-n", namespace, "logs", "solo").strip()
    refused = region.attempt("kubectl", "-n", namespace, "logs", "solo", "-c", "absent")
    assert refused.returncode == 1
    assert "container absent is not valid for pod solo" in refused.stderr


def test_dry_run_on_the_server_changes_nothing(region: RegionProcess, namespace: str) -> None:
    output = region.kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", stdin=WEB)
    assert "created (server dry run)" in output
    assert region.get("-n", namespace, "deployments")["items"] == []


def test_a_namespace_goes_with_all_that_is_in_it(region: RegionProcess) -> None:
    region.kubectl("create", "namespace", "short-lived")
    region.kubectl("-n", "short-lived", "apply", "-f", "-", stdin=WEB)
    region.kubectl("-n", "short-lived", "create", "configmap", "c", "--from-literal=a=b")
    region.kubectl("delete", "namespace", "short-lived", "--timeout=180s")
    refused = region.attempt("kubectl", "get", "namespace", "short-lived")
    assert 'Error from server (NotFound): namespaces "short-lived" not found' in refused.stderr


def test_watch_sees_changes_as_they_happen(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "create", "configmap", "watched", "--from-literal=a=1")
    raw = f"/api/v1/namespaces/{namespace}/configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dwatched"
    events = [json.loads(line) for line in region.kubectl("get", "--raw", raw).splitlines()]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events][:1] == [("ADDED", "watched")]


def test_who_am_i_and_what_may_i(region: RegionProcess) -> None:
    assert "arn:aws:iam::123456789012:user/admin" in region.kubectl("auth", "whoami")
    assert region.kubectl("auth", "can-i", "*", "*").strip() == "yes"
    denied = region.attempt("kubectl", "get", "pods", "--as=jane")
    assert (
        'Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    ) in denied.stderr


def test_deleting_a_pod_brings_another(region: RegionProcess, namespace: str) -> None:
    region.kubectl("-n", namespace, "apply", "-f", "-", stdin=WEB)
    region.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    before = {pod["metadata"]["name"] for pod in region.get("-n", namespace, "pods")["items"]}
    region.kubectl("-n", namespace, "delete", "pod", next(iter(before)), "--wait=false")

    def replaced() -> bool:
        pods = region.get("-n", namespace, "pods")["items"]
        running = {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"}
        return len(running) == 2 and running != before

    eventually(replaced, "a new pod takes the place of the deleted one")


def test_service_accounts_get_tokens_that_work(region: RegionProcess, namespace: str) -> None:
    token = region.kubectl("-n", namespace, "create", "token", "default").strip()
    output = region.kubectl("--token", token, "auth", "whoami")
    assert f"system:serviceaccount:{namespace}:default" in output
