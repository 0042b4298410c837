"""kill -9 of any or all processes of a region: `up` brings back the same clusters, nodes, resources and objects."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.region_process import RegionProcess, eventually
from twinplane.region import launcher
from twinplane.region.processes import RunningProcess


@pytest.fixture
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionProcess]:
    region = RegionProcess(tmp_path_factory.mktemp("faults"))
    try:
        region.start()
        region.run("twinplane", "create", "cluster", "--name", "sturdy", "--nodes", "2", "--nodegroup-name", "ng")
        yield region
    finally:
        region.stop()


def processes(region: RegionProcess) -> dict[str, RunningProcess]:
    found = {path.stem: RunningProcess.read(path) for path in region.directory.processes.glob("*.json")}
    return {name: process for name, process in found.items() if process is not None}


def picture(region: RegionProcess) -> dict[str, Any]:
    """What must be the same afterwards."""
    instances = region.client("ec2").describe_instances()["Reservations"]
    return {
        "instances": sorted(i["InstanceId"] for r in instances for i in r["Instances"]),
        "vpcs": sorted(vpc["VpcId"] for vpc in region.client("ec2").describe_vpcs()["Vpcs"]),
        "cluster": region.client("eks").describe_cluster(name="sturdy")["cluster"],
        "nodes": sorted(node["metadata"]["uid"] for node in region.get("nodes")["items"]),
        "pods": sorted(
            (pod["metadata"]["uid"], pod["status"]["podIP"], pod["status"]["containerStatuses"][0]["restartCount"])
            for pod in region.get("pods", "-n", "default")["items"]
        ),
        "objects": region.get("configmap", "kept")["data"],
    }


def test_up_brings_everything_back_after_kill_9(region: RegionProcess) -> None:
    region.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    region.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
    region.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    before = picture(region)
    victims = processes(region)
    assert {"region", "sturdy.controlplane", "sturdy.simulation"} <= set(victims)
    for process in victims.values():
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not any(process.alive for process in victims.values()), "all are dead")
    region.start()
    eventually(lambda: "NotReady" not in region.kubectl("get", "nodes"), "nodes are ready")
    assert picture(region) == before

    # One at a time now, with the rest alive.
    for name in ("sturdy.controlplane", "sturdy.simulation", "region"):
        os.kill(processes(region)[name].pid, signal.SIGKILL)
        region.start()
        eventually(lambda: region.attempt("kubectl", "get", "nodes").returncode == 0, f"the API is back after {name}")
        assert picture(region) == before


def test_down_and_purge_leave_nothing(region: RegionProcess) -> None:
    running = processes(region)
    region.run("twinplane", "down", "--purge")
    assert not any(process.alive for process in running.values())
    assert not region.directory.root.exists()
    assert "There is no region" in region.run("twinplane", "down")


def test_down_after_the_daemon_died_stops_what_it_left(region: RegionProcess) -> None:
    region.kubectl("create", "deployment", "web", "--image=nginx")
    region.kubectl("expose", "deployment", "web", "--port=80", "--type=LoadBalancer")
    envoy = eventually(lambda: launcher.running_envoy(region.directory), "Envoy runs")
    left = processes(region)
    os.kill(left["region"].pid, signal.SIGKILL)
    assert envoy.alive
    assert left["sturdy.controlplane"].alive
    region.run("twinplane", "down", "--purge")
    assert not envoy.alive
    assert not any(process.alive for process in left.values())
