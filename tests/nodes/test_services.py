"""nginx on real nodes: found by name, by node port and by host port; replaced, restarted and silenced by its probes."""

from __future__ import annotations

import subprocess

import pytest

from tests.nodes.space import Space
from tests.region_process import eventually

PAGE = "200 first page"
LOOP = "while :; do curl -sS -m 30 -o /dev/null http://web && echo ok || echo failed; sleep 0.05; done"


@pytest.fixture(scope="module", autouse=True)
def running(space: Space) -> None:
    space.apply("services.yaml")
    space.ready("client")
    space.rolled_out("deployment/web", "daemonset/on-host", "daemonset/host-port")


def node_addresses(space: Space) -> list[str]:
    path = "jsonpath={.items[*].status.addresses[?(@.type=='InternalIP')].address}"
    return space.kubectl("get", "nodes", "-o", path).split()


def pod_addresses(space: Space, label: str) -> set[str]:
    return set(space.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[*].status.podIP}").split())


@pytest.mark.parametrize("host", ["web", "web.{}", "web.{}.svc", "web.{}.svc.cluster.local"])
def test_a_service_by_its_names(space: Space, host: str) -> None:
    assert space.fetch("client", f"http://{host.format(space.name)}") == PAGE


def test_the_pods_are_on_both_nodes_and_reach_one_another(space: Space) -> None:
    nodes = {pod["spec"]["nodeName"] for pod in space.get("pods", "-l", "app=web")["items"]}
    assert len(nodes) == 2
    for address in pod_addresses(space, "app=web"):
        assert space.fetch("client", f"http://{address}") == PAGE


def test_a_headless_service_is_its_pods(space: Space) -> None:
    answer = space.run("client", "nslookup", f"web-each.{space.name}.svc.cluster.local")
    named = {line.split()[-1] for line in answer.splitlines() if line.startswith("Address:")}
    assert pod_addresses(space, "app=web") <= named


def test_a_node_port_on_each_node(space: Space) -> None:
    port = space.field("service/web", ".spec.ports[0].nodePort")
    for address in node_addresses(space):
        assert space.fetch("client", f"http://{address}:{port}") == PAGE


def test_host_network_and_host_ports(space: Space) -> None:
    addresses = node_addresses(space)
    assert pod_addresses(space, "app=on-host") == set(addresses)
    for address in addresses:
        assert space.fetch("client", f"http://{address}:80").startswith("200 ")
        assert space.fetch("client", f"http://{address}:8081").startswith("200 ")
    for pod in space.get("pods", "-l", "app=on-host")["items"]:
        name = space.run(pod["metadata"]["name"], "cat", "/proc/sys/kernel/hostname")
        assert name.strip() == pod["spec"]["nodeName"]


def test_probes_come_from_the_node(space: Space) -> None:
    pod = space.get("pods", "-l", "app=web")["items"][0]
    log = space.kubectl("logs", pod["metadata"]["name"], "--tail=50")
    probes = {line.split()[0] for line in log.splitlines() if "kube-probe/" in line}
    assert probes == {pod["status"]["hostIP"]}


def test_a_rolling_update_fails_no_request(space: Space) -> None:
    command = ("kubectl", "-n", space.name, "exec", "client", "--", "sh", "-c", LOOP)
    environment = space.region.environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as loop:
        assert loop.stdout is not None
        try:
            space.kubectl("set", "env", "deployment/web", "ROUND=2")
            space.rolled_out("deployment/web")
            # A busy machine may have sent but few by now.
            counted = [loop.stdout.readline().strip() for _ in range(20)]
        finally:
            loop.terminate()
        output, errors = loop.communicate(timeout=60)
    space.attempt("exec", "client", "--", "sh", "-c", "kill $(pidof sh)")
    counted += output.split()
    assert "ok" in counted
    assert "failed" not in counted, errors
    assert len(space.get("replicasets", "-l", "app=web")["items"]) == 2


def test_a_pod_that_is_not_ready_gets_no_traffic(space: Space) -> None:
    space.ready("moody")
    eventually(lambda: space.fetch("client", "http://moody").startswith("200"), "moody answers")
    space.run("moody", "rm", "/tmp/ready")
    space.until("pod/moody", ".status.containerStatuses[0].ready", "false")
    eventually(lambda: space.fetch("client", "http://moody").startswith("000"), "moody is out of the service")
    assert space.events("moody", "Readiness probe failed: cat: /tmp/ready: No such file or directory")
    space.run("moody", "touch", "/tmp/ready")
    space.ready("moody")
    eventually(lambda: space.fetch("client", "http://moody").startswith("200"), "moody answers again")


def test_a_container_that_fails_its_liveness_probe_is_restarted(space: Space) -> None:
    space.ready("moody")
    before = space.field("pod/moody", ".status.containerStatuses[0].containerID")
    space.run("moody", "rm", "/tmp/well")
    space.until("pod/moody", ".status.containerStatuses[0].restartCount", "1")
    space.ready("moody")
    assert space.field("pod/moody", ".status.containerStatuses[0].lastState.terminated.containerID") == before
    assert space.events("moody", "Container main failed liveness probe, will be restarted")
