"""The kubelet on a real containerd: pods that start, are probed, restart, are limited, resize, and go.

The API server and the volumes are in memory; containers, cgroups and logs are real.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.nodes.private_containerd import IMAGE, missing, private_containerd
from tests.unit.kubelet.node import MemoryVolumes, TestNode, configuration, pod_object
from twinplane.clock import SystemClock
from twinplane.dataplane.kubelet import contract
from twinplane.dataplane.kubelet.containers.cgroups import ROOT, Cgroups
from twinplane.dataplane.kubelet.kubelet import Kubelet
from twinplane.dataplane.kubelet.pods import launching
from twinplane.dataplane.runtime.contract import RuntimeFailure
from twinplane.dataplane.runtime.cri import CriRuntime
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS, SERVICES
from twinplane.testing.memory_cluster import MemoryCluster

pytestmark = [
    pytest.mark.real_cluster,
    pytest.mark.skipif(bool(missing()), reason=missing() or "can run"),
    pytest.mark.timeout(600),
]

PARENT = f"/twinplane-kubelet-test-{os.getpid()}"
SHELL = ["/bin/sh", "-c"]
LOOP = "trap 'echo bye; exit 0' TERM; echo hello; while true; do sleep 0.1; done"


class RealNode(TestNode):
    """`runtime` is a `CriRuntime` here."""

    __test__ = False

    async def start(self) -> None:
        self.kubelet = Kubelet(
            configuration(max_pods=200, kubelet={"staticPodPath": str(self.root / "manifests")}),
            self.cluster,
            self.runtime,
            lambda _: self.volumes,
            clock=self.clock,
            random=Random(1),
            directory=self.root / "kubelet",
            cgroups=Cgroups(PARENT),
        )
        self._task = asyncio.create_task(self.kubelet.run())

    async def until(self, check: Callable[[], Any], seconds: float = 120.0) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while True:
            try:
                if check():
                    return time.monotonic() - began
            except (AssertionError, KeyError, IndexError):
                pass
            if time.monotonic() - began > seconds:
                shown = [(pod["metadata"]["name"], pod.get("status")) for pod in self.cluster.objects(PODS)]
                raise AssertionError(f"not within {seconds} s: {shown} {self.events()}")
            await asyncio.sleep(0.02)

    def container(self, pod: str, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.status(pod)["containerStatuses"][index]
        return found


@asynccontextmanager
async def real_node(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealNode]:
    monkeypatch.setattr(contract, "KUBELET_DIRECTORY", root / "kubelet")
    monkeypatch.setattr(contract, "POD_LOGS", root / "logs")
    monkeypatch.setattr(launching, "CONTAINER_LOGS", root / "links")
    clock = SystemClock()
    cluster = MemoryCluster(clock)
    service = {"metadata": {"name": "kubernetes", "namespace": "default"}}
    cluster.seed(SERVICES, {**service, "spec": {"clusterIP": "10.100.0.1", "ports": [{"name": "https", "port": 443}]}})
    async with private_containerd() as socket, CriRuntime(socket) as runtime:
        node = RealNode(cluster, runtime, clock, root, MemoryVolumes())  # type: ignore[arg-type] # the real one
        await node.start()
        try:
            yield node
        finally:
            await node.stop()
            await _remove_sandboxes(runtime)
            _remove_cgroups()


async def _remove_sandboxes(runtime: CriRuntime) -> None:
    """As often as it takes, as the kubelet does: a shim that just died (out of memory) makes the first call fail."""
    while sandboxes := await runtime.list_pod_sandboxes():
        for sandbox in sandboxes:
            with suppress(RuntimeFailure):
                await runtime.remove_pod_sandbox(sandbox.id)
        await asyncio.sleep(0.05)


def _remove_cgroups() -> None:
    for top in [ROOT, *ROOT.iterdir()]:
        for directory, _, _ in os.walk(f"{top}{PARENT}", topdown=False):
            os.rmdir(directory)


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": [*SHELL, script], **more}


async def test_life_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real_node(tmp_path, monkeypatch) as node:
        await node.cluster.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"key": "value"}}, "default")
        env = [
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "key"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ]
        script = f"echo $KEY $IP $KUBERNETES_SERVICE_HOST; cat /etc/hosts; {LOOP}"
        first = shell("echo first > /dev/termination-log") | {"name": "first"}
        pod = pod_object("life", [shell(script, env=env)], initContainers=[first], hostname="named")
        await node.create(pod)
        took = await node.until(lambda: node.condition("life", "Ready") == "True")
        print(f"create to Ready with an init container: {took:.2f} s")
        status = node.status("life")
        assert status["initContainerStatuses"][0]["state"]["terminated"]["message"] == "first\n"
        logs = next((tmp_path / "logs").glob("*_life_*")) / "main" / "0.log"
        await node.until(lambda: "hello" in logs.read_text())
        assert "value 10.99.0.2 10.100.0.1" in logs.read_text()
        assert "10.99.0.2\tnamed" in logs.read_text()
        await node.cluster.delete(PODS, "life", "default")
        took = await node.until(lambda: node.pod("life") is None)
        print(f"delete to gone: {took:.2f} s")
        assert not (await node.runtime.list_pod_sandboxes())
        assert not Cgroups(PARENT).uids()


async def test_many_pods_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is for a busy machine; alone it takes a third of it."""
    count = int(os.environ.get("TWINPLANE_PODS", "20"))
    async with real_node(tmp_path, monkeypatch) as node:
        await node.create(pod_object("first", [shell("sleep 1000")]))
        print(f"one pod: {await node.until(lambda: node.status('first')['phase'] == 'Running'):.3f} s")
        for index in range(count):
            await node.create(pod_object(f"pod-{index}", [shell("exec sleep 1000")], terminationGracePeriodSeconds=0))
        spent = time.process_time()
        running = lambda: all(node.status(f"pod-{index}")["phase"] == "Running" for index in range(count))  # noqa: E731
        print(f"{count} pods: {await node.until(running):.2f} s, {time.process_time() - spent:.2f} s of CPU here")
        for index in range(count):
            await node.cluster.delete(PODS, f"pod-{index}", "default", grace_period_seconds=1)
        print(f"gone: {await node.until(lambda: len(node.cluster.objects(PODS)) == 1):.2f} s")


async def test_limits_users_and_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container is given is what it has: cgroup, user, groups, capabilities, read-only root; and its resize."""
    async with real_node(tmp_path, monkeypatch) as node:
        limits = {"limits": {"cpu": "500m", "memory": "32Mi"}}
        context = {
            "runAsUser": 1000,
            "runAsGroup": 2000,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        script = "cat /proc/self/status; echo x > /tmp-file || echo refused; exec sleep 1000"
        main = shell(script, resources=limits, securityContext=context)
        await node.create(pod_object("tight", [main], securityContext={"fsGroup": 3000}))
        await node.until(lambda: node.status("tight")["phase"] == "Running")
        log = next((tmp_path / "logs").glob("*_tight_*")) / "main" / "0.log"
        await node.until(lambda: "refused" in log.read_text())
        text = log.read_text()
        for line in ("Uid:\t1000", "Gid:\t2000", "Groups:\t2000 3000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
            assert line in text
        pod = node.pod("tight")
        assert pod is not None
        path = Cgroups(PARENT).path(pod)
        assert "/burstable/" not in path
        container = node.container("tight")["containerID"].removeprefix("containerd://")
        assert read(f"cpu/{path}/{container}/cpu.cfs_quota_us", f"{path}/{container}/cpu.max").split()[0] == "50000"
        memory = read(f"memory/{path}/memory.limit_in_bytes", f"{path}/memory.max")
        assert int(memory) == 32 * 1024 * 1024
        pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "700m", "memory": "32Mi"}}
        await node.cluster.update(PODS, pod)
        quota = f"cpu/{path}/{container}/cpu.cfs_quota_us", f"{path}/{container}/cpu.max"
        await node.until(lambda: read(*quota).split()[0] == "70000")
        assert node.container("tight")["restartCount"] == 0


def read(first: str, second: str) -> str:
    """Of cgroup v1, or of v2."""
    path = ROOT / first.replace("//", "/")
    return (path if path.exists() else Path(f"{ROOT}{second}")).read_text()


async def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real_node(tmp_path, monkeypatch) as node:
        script = "dd if=/dev/zero of=/dev/null bs=200M count=1"
        main = shell(script, resources={"limits": {"memory": "20Mi"}})
        await node.create(pod_object("greedy", [main], restartPolicy="Never"))
        await node.until(lambda: node.status("greedy")["phase"] == "Failed")
        ended = node.container("greedy")["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_an_agent_that_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real_node(tmp_path, monkeypatch) as node:
        probe = {"exec": {"command": ["/bin/ls", "/"]}, "periodSeconds": 1}
        await node.create(pod_object("stays", [shell(LOOP, readinessProbe=probe)]))
        await node.create(pod_object("crashes", [shell("sleep 1; exit 3")]))
        await node.until(lambda: node.condition("stays", "Ready") == "True")
        before = node.container("stays")
        await node.until(lambda: node.container("crashes")["restartCount"] >= 1)
        await node.stop()
        await node.start()
        await asyncio.sleep(2)
        assert node.container("stays") == before
        assert node.condition("stays", "Ready") == "True"
        took = await node.until(lambda: node.container("crashes")["lastState"]["terminated"]["exitCode"] == 3)
        print(f"last state known after {took:.2f} s")
