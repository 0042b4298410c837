"""Real nodes outlive what is above them: the control plane, the daemon, their own agent; and leave nothing behind.

One region and cluster for the module; the tests build on one another only in that each leaves two ready nodes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.nodes.applications import CLIENT, PYTHON, SERVER, SLEEPER, apply, deployment, image, service
from tests.nodes.footprint import footprint
from tests.nodes.load import ENOUGH, Counts, load
from tests.nodes.whole_region import CLUSTER, NODEGROUP, RealRegion, answers, containers, kill, pod_ready
from tests.region_process import eventually
from twinplane.cloud.machines.requirements import requirements

LACKING = requirements(Path("/tmp"))
pytestmark = [
    pytest.mark.root,
    pytest.mark.real_cluster,
    pytest.mark.skipif(bool(LACKING), reason=" ".join(LACKING) or "-"),
    pytest.mark.timeout(900),
]

NODES = 2


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegion]:
    region = RealRegion(tmp_path_factory.mktemp("survival"))
    try:
        region.start()
        region.create_cluster(NODES)
        prepare(region)
        yield region
    finally:
        region.stop()
        assert footprint(region.directory.root) == {}


def prepare(region: RealRegion) -> None:
    region.serve("web", 4, "LoadBalancer")
    address = region.get("service", "web")["spec"]["clusterIP"]
    name = "web.default.svc.cluster.local"
    client = deployment("client", image(region), CLIENT, address, name, "0.02", replicas=2)
    apply(region, client, deployment("fragile", image(region), SLEEPER))
    for app, count in (("web", 4), ("client", 2), ("fragile", 1)):
        region.until_running(app, count)
    region.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s")


def targets(region: RealRegion) -> dict[str, str]:
    """Everything that the host can send requests to."""
    port = region.get("service", "web")["spec"]["ports"][0]["nodePort"]
    found = {f"node port of {name}": f"http://{region.host_address(name)}:{port}" for name in region.instances()}
    found["load balancer"] = region.balancer_url("web")
    for name, url in found.items():
        eventually(partial(answers, url), f"{name} answers")
    return found


def client_sums(region: RealRegion) -> dict[str, tuple[int, int, int, int]]:
    """Of each pod: requests sent, failed, names looked up, not found."""
    found = {}
    for pod in region.pods("-l", "app=client"):
        name = pod["metadata"]["name"]
        lines = region.kubectl("logs", name, "--tail=50").splitlines()
        last = [line for line in lines if line.startswith("sum ")][-1]
        sent, failed, named, unnamed = map(int, last.split()[1:])
        found[name] = (sent, failed, named, unnamed)
    return found


def says_sums(region: RealRegion, pod: str) -> bool:
    return "sum" in region.attempt("kubectl", "logs", pod, "--tail=5").stdout


def no_failure(counts: dict[str, Counts]) -> None:
    for name, found in counts.items():
        print(f"{name}: {found.sent} sent, {len(found.failures)} failed, slowest {found.slowest * 1000:.0f} ms")
    failures = {name: found.failures for name, found in counts.items() if found.failures}
    assert not failures, failures
    assert all(found.sent > ENOUGH for found in counts.values())


def no_client_failure(region: RealRegion, before: dict[str, tuple[int, int, int, int]]) -> None:
    def went_on() -> bool:
        now = client_sums(region)
        return all(now[name][0] > then[0] + ENOUGH and now[name][2] > then[2] for name, then in before.items())

    eventually(went_on, "the clients in pods go on")
    after = client_sums(region)
    print("clients in pods:", before, after)
    for name, (_, failed, _, unnamed) in after.items():
        assert (failed, unnamed) == (before[name][1], before[name][3])


APPLICATIONS = {"web": 4, "client": 2, "fragile": 1, "keeper": 1}


def all_run(region: RealRegion) -> bool:
    pods = [pod for pod in region.pods("-n", "default") if pod_ready(pod)]
    return len(pods) == sum(APPLICATIONS.values())


def kept(region: RealRegion, path: str = "/read") -> str:
    """What the pod with the volume says."""
    port = region.get("service", "keeper")["spec"]["ports"][0]["nodePort"]
    return answers(f"http://{region.host_address(next(iter(region.instances('running'))))}:{port}", path)


def others(region: RealRegion, *apart: str) -> dict[str, tuple[str, str, int]]:
    return {name: found for name, found in containers(region.pods()).items() if not name.startswith(apart or ("-",))}


def test_without_the_control_plane_no_request_fails_and_nodes_restart_what_crashes(region: RealRegion) -> None:
    where, before, sums = targets(region), others(region, "fragile"), client_sums(region)
    [fragile] = region.pods("-l", "app=fragile")
    with load(where) as counts:
        time.sleep(0.5)
        region.run("twinplane", "stop", "controlplane", "--cluster", CLUSTER, "--kill")
        [victim] = [pid for name in region.instances() for pid in region.inside(name, "signal.pause()")]
        kill(victim)
        eventually(
            lambda: [
                pid for name in region.instances() for pid in region.inside(name, "signal.pause()") if pid != victim
            ],
            "the node restarts the container",
        )
        assert region.attempt("kubectl", "get", "nodes").returncode != 0
        time.sleep(3)
        region.run("twinplane", "start", "controlplane", "--cluster", CLUSTER)
        region.until_ready(NODES)

        def restarts() -> bool:
            [pod] = region.pods("-l", "app=fragile")
            status = pod["status"]["containerStatuses"][0]
            return (pod["metadata"]["uid"], status["restartCount"]) == (fragile["metadata"]["uid"], 1)

        eventually(restarts, "the restart is reported")
        time.sleep(1)
    no_failure(counts)
    no_client_failure(region, sums)
    assert others(region, "fragile") == before


def test_a_control_plane_that_hangs_is_as_good_as_none(region: RealRegion) -> None:
    where, before = targets(region), others(region)
    control_plane = region.processes()[f"{CLUSTER}.controlplane"]
    with load(where) as counts:
        os.kill(control_plane.pid, signal.SIGSTOP)
        try:
            time.sleep(4)
        finally:
            os.kill(control_plane.pid, signal.SIGCONT)
        region.until_ready(NODES)
    no_failure(counts)
    assert others(region) == before


def test_a_node_that_restarts_without_control_plane_brings_its_pods_back(region: RealRegion) -> None:
    where, before = targets(region), containers(region.pods())
    pods = region.pods()
    [instance] = region.instances_of(region.pods("-l", "app=fragile"))
    here = containers(pod for pod, at in zip(pods, region.instances_of(pods), strict=True) if at == instance)
    port = f"node port of {instance}"
    region.run("twinplane", "stop", "controlplane", "--cluster", CLUSTER, "--kill")
    first = region.first_process(instance)
    region.client("ec2").reboot_instances(InstanceIds=[instance])
    eventually(lambda: region.first_process(instance) not in (0, first), "the machine boots again")
    eventually(lambda: region.inside(instance, "signal.pause()"), "its pods run again")
    # Rules and addresses are what they were: as soon as the servers listen, no request fails any more.
    eventually(lambda: all(answers(where[port]) for _ in range(20)), "its node port answers")
    with load(where) as counts:
        time.sleep(3)
    region.run("twinplane", "start", "controlplane", "--cluster", CLUSTER)
    region.until_ready(NODES)

    def reported() -> bool:
        now = containers(region.pods())
        return now.keys() == before.keys() and all(now[name][2] == before[name][2] + 1 for name in here)

    eventually(reported, "the restarts are reported")
    for app, count in (("web", 4), ("client", 2), ("fragile", 1)):
        region.until_running(app, count)
    after = containers(region.pods())
    for name, (container, address, restarts) in before.items():
        if name in here:
            assert after[name][0] != container
        else:
            assert after[name][0] == container
        assert after[name][1:] == (address, restarts + (name in here))
    no_failure(counts)


@pytest.mark.parametrize("program", ["twinplane.dataplane.node.agent", "containerd --config"])
def test_containers_outlive_what_runs_them(region: RealRegion, program: str) -> None:
    where, before = targets(region), others(region)
    instance = next(iter(region.instances()))
    victims = region.inside(instance, program)
    assert victims
    with load(where) as counts:
        kill(*victims)
        eventually(lambda: set(region.inside(instance, program)) - set(victims), f"{program} runs again")
        region.until_ready(NODES)
        # It knows them again: it answers for them.
        for pod in region.pods("-l", "app=client"):
            eventually(partial(says_sums, region, pod["metadata"]["name"]), "the node's server answers")
            assert region.kubectl("exec", pod["metadata"]["name"], "--", PYTHON, "-c", "print(6 * 7)") == "42\n"
        time.sleep(1)
    no_failure(counts)
    assert others(region) == before


def test_nodes_and_traffic_outlive_the_daemon(region: RealRegion) -> None:
    where, before, sums = targets(region), others(region), client_sums(region)
    machines = {name: region.first_process(name) for name in region.instances()}
    running = region.processes()
    with load(where) as counts:
        kill(running["region"].pid)
        time.sleep(3)
        region.start()
        region.until_ready(NODES)
        time.sleep(1)
    no_failure(counts)
    no_client_failure(region, sums)
    assert others(region) == before
    assert {name: region.first_process(name) for name in region.instances()} == machines
    now = region.processes()
    assert {name for name in running if now[name] != running[name]} == {"region"}


def test_everything_comes_back_after_kill_9_of_everything(region: RealRegion) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "gp2",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    volumes = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
    mounts = [{"name": "data", "mountPath": "/data"}]
    keeper = deployment("keeper", image(region), SERVER, "/data/kept", more=volumes, volumeMounts=mounts)
    apply(region, claim, keeper, service("keeper", "NodePort"))
    region.until_running("keeper", 1)
    eventually(lambda: kept(region, "/write/precious"), "the data is written")
    before = {pod["metadata"]["uid"] for pod in region.pods()}
    machines = {name: region.first_process(name) for name in region.instances()}
    kill(*(process.pid for process in region.processes().values()), *machines.values())
    region.start()
    region.until_ready(NODES)
    eventually(lambda: kept(region) == "precious", "the data is there")
    for app, count in (("web", 4), ("client", 2), ("fragile", 1), ("keeper", 1)):
        region.until_running(app, count)
    assert {pod["metadata"]["uid"] for pod in region.pods()} == before
    for name, target in targets(region).items():
        assert answers(target), name


def test_down_and_up_bring_nodes_and_pods_back(region: RealRegion) -> None:
    before = {pod["metadata"]["uid"] for pod in region.pods()}
    nodes = {name: node["metadata"]["uid"] for name, node in region.nodes().items()}
    region.run("twinplane", "down")
    assert footprint(region.directory.root) == {}
    region.start()
    region.until_ready(NODES)
    for app, count in (("web", 4), ("client", 2), ("fragile", 1), ("keeper", 1)):
        region.until_running(app, count)
    assert {pod["metadata"]["uid"] for pod in region.pods()} == before
    assert {name: node["metadata"]["uid"] for name, node in region.nodes().items()} == nodes
    targets(region)
    eventually(lambda: kept(region) == "precious", "the data is there")


def test_a_rebooted_instance_comes_back_as_the_same_node(region: RealRegion) -> None:
    instance = next(iter(region.instances()))
    ec2 = region.client("ec2")
    node = region.nodes()[instance]
    first = region.first_process(instance)
    boot = node["status"]["nodeInfo"]["bootID"]
    ec2.reboot_instances(InstanceIds=[instance])
    eventually(lambda: region.first_process(instance) not in (0, first), "the machine boots again")
    eventually(lambda: region.nodes()[instance]["status"]["nodeInfo"]["bootID"] != boot, "the node says so")
    region.until_ready(NODES)
    eventually(lambda: all_run(region), "its pods run")


def test_a_terminated_instance_is_replaced_and_the_group_grows_and_shrinks(region: RealRegion) -> None:
    instance = region.instances_of(region.pods("-l", "app=keeper"))[0]
    before = set(region.instances())
    region.client("ec2").terminate_instances(InstanceIds=[instance])
    eventually(lambda: len(region.instances().keys() - {instance}) == NODES, "the group launches another")
    eventually(lambda: not region.machine(instance).directory.exists(), "its disk is gone")
    scale = ("twinplane", "scale", "nodegroup", "--cluster", CLUSTER, "--name", NODEGROUP, "--nodes")
    region.run(*scale, str(NODES + 1), "--nodes-max", str(NODES + 1))
    # The node object goes when its lease has run out and EC2 says that there is no such instance.
    eventually(lambda: instance not in region.nodes(), "the node object goes")
    region.until_ready(NODES + 1)
    assert not [line for lines in footprint(region.directory.root).values() for line in lines if instance in line]
    eventually(lambda: all_run(region), "its pods run elsewhere")
    assert len(targets(region)) == NODES + 2
    eventually(lambda: kept(region) == "precious", "the volume moved with its pod")
    region.run(*scale, str(NODES))
    eventually(lambda: len(region.nodes()) == NODES and region.ready(NODES), "a node goes")
    assert len(set(region.nodes()) & before) <= NODES - 1
    eventually(lambda: all_run(region), "its pods run elsewhere")


def test_a_deleted_node_group_drains(region: RealRegion) -> None:
    nodes = {node["metadata"]["name"] for node in region.nodes().values()}
    there = {pod["metadata"]["uid"] for pod in region.pods("-n", "default") if pod["spec"].get("nodeName") in nodes}
    assert there
    region.run("twinplane", "delete", "nodegroup", "--cluster", CLUSTER, "--name", NODEGROUP)
    # Evicted: pods of a node that is just gone are collected a minute later.
    assert not there & {pod["metadata"]["uid"] for pod in region.pods("-n", "default")}
    eventually(lambda: not region.nodes(), "all nodes are gone")
    assert not region.instances()


def test_a_deleted_cluster_leaves_nothing(region: RealRegion) -> None:
    region.run("twinplane", "delete", "cluster", "--name", CLUSTER)
    left = footprint(region.directory.root)
    own = [line for line in left.pop("processes") if "twinplane.region" not in line and "envoy" not in line]
    assert (own, left) == ([], {})


def test_purging_after_kill_9_of_everything_leaves_nothing(region: RealRegion) -> None:
    region.create_cluster(1)
    region.serve("web", 1, "LoadBalancer")
    [instance] = region.instances()
    eventually(lambda: region.inside(instance, "start_server"), "a pod runs")
    kill(*(process.pid for process in region.processes().values()))
    assert {"mounts", "network namespaces", "links", "nftables", "cgroups"} <= footprint(region.directory.root).keys()
    region.run("twinplane", "down", "--purge")
    assert footprint(region.directory.root) == {}
    assert not region.directory.root.exists()
