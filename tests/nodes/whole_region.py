"""A whole region with real nodes, as a user has it: machines and what runs in them, found and ended by their pids."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.nodes.applications import SERVER, apply, deployment, image, service
from tests.nodes.load import fetch
from tests.region_process import RegionProcess, eventually
from twinplane import edge
from twinplane.cloud.machines.machine import Machine, first_process
from twinplane.region import launcher
from twinplane.region.processes import RunningProcess

CLUSTER = "sturdy"
NODEGROUP = "ng"


@dataclass
class RealRegion(RegionProcess):
    def create_cluster(self, nodes: int) -> None:
        self.run(
            *("twinplane", "create", "cluster", "--name", CLUSTER, "--nodes", str(nodes)),
            *("--nodegroup-name", NODEGROUP, "--runtime", "containerd"),
        )

    # -- processes -------------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, RunningProcess]:
        found = {path.stem: RunningProcess.read(path) for path in self.directory.processes.glob("*.json")}
        found["envoy"] = launcher.running_envoy(self.directory)
        return {name: process for name, process in found.items() if process is not None}

    def machine(self, instance: str) -> Machine:
        return Machine(self.directory.root, instance)

    def first_process(self, instance: str) -> int:
        """The pid on the host of a machine's PID 1; 0 while it does not run."""
        running = self.machine(instance).running()
        init = first_process(running.pid) if running is not None else None
        return init.pid if init is not None else 0

    def inside(self, instance: str, words: str) -> list[int]:
        """Pids on the host of the processes of a machine (its pods' too) whose command line has these words."""
        space = _space(self.first_process(instance))
        return [pid for pid in _pids() if words in _command(pid) and _within(pid, space)]

    # -- nodes -----------------------------------------------------------------------------------------------------

    def nodes(self) -> dict[str, dict[str, Any]]:
        """By instance id."""
        items = self.get("nodes")["items"]
        return {item["spec"]["providerID"].rpartition("/")[2]: item for item in items}

    def ready(self, count: int) -> bool:
        found = [_ready(node) for node in self.nodes().values()]
        return len(found) == count and all(found)

    def until_ready(self, count: int) -> None:
        eventually(lambda: self.attempt("kubectl", "get", "nodes").returncode == 0, "the API answers")
        eventually(lambda: self.ready(count), f"{count} nodes are ready")

    def instances(self, *states: str) -> dict[str, dict[str, Any]]:
        wanted = states or ("pending", "running")
        found = self.client("ec2").describe_instances()["Reservations"]
        return {i["InstanceId"]: i for r in found for i in r["Instances"] if i["State"]["Name"] in wanted}

    def host_address(self, instance: str) -> str:
        described = self.instances("running")[instance]
        return (
            edge.Edges(self.directory.root / edge.FILE).to_host(described["VpcId"], described["PrivateIpAddress"]) or ""
        )

    # -- pods ------------------------------------------------------------------------------------------------------

    def pods(self, *selection: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("pods", *(selection or ("-A",)))["items"]
        return found

    def instances_of(self, pods: Iterable[dict[str, Any]]) -> list[str]:
        """Where each runs."""
        names = {node["metadata"]["name"]: instance for instance, node in self.nodes().items()}
        return [names[pod["spec"]["nodeName"]] for pod in pods]

    def until_running(self, app: str, count: int) -> list[dict[str, Any]]:
        def running() -> list[dict[str, Any]]:
            pods = self.pods("-l", f"app={app}")
            return pods if len(pods) == count and all(pod_ready(pod) for pod in pods) else []

        found: list[dict[str, Any]] = eventually(running, f"{count} pods of {app} are ready")
        return found

    def serve(self, name: str, replicas: int, kind: str) -> None:
        probe = {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1}
        web = deployment(name, image(self), SERVER, "/tmp/data", replicas=replicas, readinessProbe=probe)
        apply(self, web, service(name, kind))

    def balancer_url(self, name: str) -> str:
        """Of a service, once it answers."""

        def found() -> str:
            ingress = (self.get("service", name)["status"].get("loadBalancer") or {}).get("ingress") or [{}]
            balancers = json.loads(self.run("twinplane", "get", "loadbalancers", "-o", "json"))
            hostname = ingress[0].get("hostname")
            return next((b["urls"][0] for b in balancers if b["dnsName"] == hostname and b["urls"]), "")

        url = str(eventually(found, f"{name} has a load balancer"))
        eventually(lambda: answers(url), f"{url} answers")
        return url


def answers(url: str, path: str = "/") -> str:
    """Empty when it does not."""
    try:
        return fetch(url, path)
    except (OSError, HTTPException):
        return ""


def pod_ready(pod: dict[str, Any]) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and _ready(pod)


def _ready(item: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions") or ())


def containers(pods: Iterable[dict[str, Any]]) -> dict[str, tuple[str, str, int]]:
    """Pod and container -> its id, the pod's address, and how often it was restarted."""
    return {
        f"{pod['metadata']['name']}/{status['name']}": (
            status.get("containerID", ""),
            pod["status"].get("podIP", ""),
            status["restartCount"],
        )
        for pod in pods
        for status in pod["status"].get("containerStatuses") or ()
    }


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _space(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _within(pid: int, space: str) -> bool:
    """In a PID namespace or in one below it."""
    import fcntl

    ns_get_parent = 0xB702
    try:
        current = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    except OSError:
        return False
    while True:
        try:
            if f"pid:[{os.fstat(current).st_ino}]" == space:
                return True
            above = fcntl.ioctl(current, ns_get_parent)
        except OSError:
            return False
        finally:
            os.close(current)
        current = above
