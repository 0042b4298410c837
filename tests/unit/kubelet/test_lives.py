"""Pods that fail, restart, wait, end in order, or outlive their agent: a whole kubelet in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cri_api.v1 import api_pb2 as cri

from tests.unit.kubelet.node import TestNode, pod_object, test_node
from twinplane.dataplane.runtime.contract import RuntimeFailure
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS, SECRETS
from twinplane.testing.memory_runtime import Script
from twinplane.testing.virtual_time import VirtualClock, virtual_time

Patch = pytest.MonkeyPatch


def container(name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "app:1", **more}


def main_status(node: TestNode, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = node.status(name)["containerStatuses"][0]
    return found


def stops(node: TestNode) -> list[str]:
    return [subject for method, subject in node.runtime.calls if method == "stop_container"]


@virtual_time
async def test_a_crash_loop_backs_off(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.script = lambda _: Script(seconds=1, exit_code=3)
        await node.create(pod_object())
        await asyncio.sleep(9)
        status = main_status(node)
        assert status["restartCount"] == 1
        assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        uid = uid_of(node.pod("web") or {})
        text = f"restarting failed container=main pod=web_default({uid})"
        assert status["state"]["waiting"]["message"] == f"back-off 10s {text}"
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert node.status("web")["phase"] == "Running"
        await asyncio.sleep(10)
        assert main_status(node)["restartCount"] == 2
        assert f"back-off 20s {text}" == main_status(node)["state"]["waiting"]["message"]
        await asyncio.sleep(3600)
        starts = [call for call in node.runtime.calls if call[0] == "start_container"]
        assert 14 <= len(starts) <= 18
        assert f"Back-off restarting failed container main in pod web_default({uid})" in node.events("BackOff")


@virtual_time
async def test_restart_policy_never(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.script = lambda config: Script(seconds=2, exit_code=0 if config.metadata.name == "good" else 7)
        await node.create(pod_object("good", [container("good")], restartPolicy="Never"))
        await node.create(pod_object("bad", [container("bad")], restartPolicy="Never"))
        await asyncio.sleep(6)
        assert node.status("good")["phase"] == "Succeeded"
        assert node.status("bad")["phase"] == "Failed"
        ended = node.status("good")["containerStatuses"][0]["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("Completed", 0)
        assert node.condition("good", "PodReadyToStartContainers") == "False"
        conditions = {item["type"]: item.get("reason") for item in node.status("good")["conditions"]}
        assert conditions["Ready"] == "PodCompleted"
        assert len(node.runtime.containers) == 2
        await node.cluster.delete(PODS, "good", "default")
        await asyncio.sleep(2)
        assert node.pod("good") is None
        assert len(node.runtime.containers) == 1


@virtual_time
async def test_image_errors(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("gone", [container(image="registry.example/none:1")]))
        await node.create(pod_object("never", [container(image="other:1", imagePullPolicy="Never")]))
        await node.create(pod_object("bad", [container(image="Not/Valid:x y")]))
        await asyncio.sleep(0.1)
        waiting = main_status(node, "gone")["state"]["waiting"]
        assert waiting["reason"] == "ErrImagePull"
        assert waiting["message"].startswith("rpc error: code = NotFound desc = failed to pull and unpack image")
        await asyncio.sleep(3)
        waiting = main_status(node, "gone")["state"]["waiting"]
        assert waiting["reason"] == "ImagePullBackOff"
        assert waiting["message"].startswith('Back-off pulling image "registry.example/none:1": ErrImagePull: rpc')
        assert main_status(node, "never")["state"]["waiting"]["reason"] == "ErrImageNeverPull"
        assert main_status(node, "bad")["state"]["waiting"]["reason"] == "InvalidImageName"
        node.runtime.add_image("registry.example/none:1", remote=True)
        await asyncio.sleep(20)
        assert node.status("gone")["phase"] == "Running"
        assert any(text.startswith('Successfully pulled image "registry.example/none:1" in') for text in node.events())


@virtual_time
async def test_pull_secrets(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    import base64
    import json

    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.add_image("registry.example/team/app:1", remote=True)
        config = {"auths": {"https://registry.example": {"username": "u", "password": "p"}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
        await node.cluster.create(SECRETS, {"metadata": {"name": "pull"}, "data": data}, "default")
        pod = pod_object("web", [container(image="registry.example/team/app:1")], imagePullSecrets=[{"name": "pull"}])
        await node.create(pod)
        await asyncio.sleep(2)
        [(_, auth)] = node.runtime.pulled_with
        assert auth is not None
        assert (auth.username, auth.password) == ("u", "p")


@virtual_time
async def test_init_containers_and_sidecars(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.script = lambda config: Script(seconds=2 if config.metadata.name.startswith("init") else None)
        probe = {"exec": {"command": ["ok"]}, "periodSeconds": 1}
        inits = [
            container("init1"),
            container("side1", restartPolicy="Always", startupProbe=probe),
            container("init2"),
            container("side2", restartPolicy="Always"),
        ]
        await node.create(pod_object("web", initContainers=inits))
        await asyncio.sleep(0.5)
        assert node.status("web")["phase"] == "Pending"
        assert main_status(node)["state"]["waiting"]["reason"] == "PodInitializing"
        assert node.condition("web", "Initialized") == "False"
        await asyncio.sleep(10)
        assert node.status("web")["phase"] == "Running"
        starts = [subject for method, subject in node.runtime.calls if method == "start_container"]
        assert starts == ["init1", "side1", "init2", "side2", "main"]
        node.runtime.exit("side1", 1)
        await asyncio.sleep(3)
        assert sorted(node.runtime.running()) == ["main", "side1", "side2"]
        assert node.status("web")["phase"] == "Running"
        await node.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(3)
        assert stops(node)[-3:] == ["main", "side2", "side1"]
        assert node.pod("web") is None


@virtual_time
async def test_a_failed_init_container(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.script = lambda _: Script(seconds=1, exit_code=1)
        await node.create(pod_object("once", initContainers=[container("init")], restartPolicy="Never"))
        await node.create(pod_object("again", initContainers=[container("init")]))
        await asyncio.sleep(8)
        assert node.status("once")["phase"] == "Failed"
        again = node.status("again")
        assert again["phase"] == "Pending"
        assert again["initContainerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"


@virtual_time
async def test_probes(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    healthy = {"live": True, "ready": False}
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.command = lambda _, command: (0 if healthy[command[0]] else 1, b"no")
        probes: dict[str, Any] = {
            "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 5, "failureThreshold": 2},
            "livenessProbe": {"exec": {"command": ["live"]}, "periodSeconds": 10, "failureThreshold": 3},
        }
        await node.create(pod_object("web", [container(**probes)]))
        await asyncio.sleep(3)
        assert node.status("web")["phase"] == "Running"
        assert node.condition("web", "Ready") == "False"
        healthy["ready"] = True
        await asyncio.sleep(6)
        assert node.condition("web", "Ready") == "True"
        healthy["ready"] = False
        await asyncio.sleep(12)
        assert node.condition("web", "Ready") == "False"
        assert "Readiness probe failed: no" in node.events("Unhealthy")
        assert main_status(node)["restartCount"] == 0
        healthy["live"] = False
        await asyncio.sleep(35)
        assert main_status(node)["restartCount"] == 1
        assert "Container main failed liveness probe, will be restarted" in node.events("Killing")


@virtual_time
async def test_a_startup_probe_that_fails(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.command = lambda _, __: (1, b"")
        probe = {"exec": {"command": ["no"]}, "periodSeconds": 2, "failureThreshold": 3}
        await node.create(pod_object("web", [container(startupProbe=probe)]))
        await asyncio.sleep(3)
        assert main_status(node)["started"] is False
        await asyncio.sleep(4)
        assert main_status(node)["restartCount"] == 1
        assert "Container main failed startup probe, will be restarted" in node.events("Killing")


@virtual_time
async def test_hooks(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.command = lambda _, command: (1, b"") if command == ["bad"] else (0, b"")
        lifecycle = {"preStop": {"sleep": {"seconds": 4}}}
        await node.create(pod_object("web", [container(lifecycle=lifecycle)]))
        await node.create(
            pod_object("hook", [container("hooked", lifecycle={"postStart": {"exec": {"command": ["bad"]}}})])
        )
        await asyncio.sleep(2)
        assert "PostStartHook failed" in node.events("FailedPostStartHook")
        assert node.runtime.running() == ["main"]
        await node.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(3.5)
        assert "main" in node.runtime.running()
        await asyncio.sleep(1)
        assert "main" not in node.runtime.running()


@virtual_time
async def test_grace_periods(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.script = lambda _: Script(stop_seconds=1000)
        await node.create(pod_object("slow"))
        await asyncio.sleep(2)
        await node.cluster.delete(PODS, "slow", "default")
        await asyncio.sleep(28)
        assert node.pod("slow") is not None
        await asyncio.sleep(4)
        assert node.pod("slow") is None
        await node.create(pod_object("slow"))
        await asyncio.sleep(2)
        await node.cluster.delete(PODS, "slow", "default")
        await asyncio.sleep(5)
        await node.cluster.delete(PODS, "slow", "default", grace_period_seconds=0)
        await asyncio.sleep(4)
        assert not node.runtime.running()
        assert not node.runtime.sandboxes


@virtual_time
async def test_deadline_and_eviction(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("short", [container("a")], activeDeadlineSeconds=5))
        await node.create(pod_object("fat", [container("b")]))
        await asyncio.sleep(4)
        assert len(node.runtime.running()) == 2
        assert node.kubelet is not None
        fat = node.kubelet.pod("default", "fat")
        assert fat is not None
        await node.kubelet.evict(fat, "The node was low on resource: memory.")
        await asyncio.sleep(3)
        assert node.status("short")["reason"] == "DeadlineExceeded"
        status = node.status("fat")
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert node.condition("fat", "DisruptionTarget") == "True"
        assert not node.runtime.running()


@virtual_time
async def test_admission(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("big", [container(resources={"requests": {"cpu": "64"}})]))
        await node.create(pod_object("far", nodeSelector={"zone": "moon"}))
        await node.create(pod_object("new", [container(restartPolicyRules=[{"action": "RestartAllContainers"}])]))
        await node.create(pod_object("odd", [container(resources={"requests": {"example.com/dongle": "1"}})]))
        await asyncio.sleep(2)
        status = node.status("big")
        assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
        assert status["message"].startswith("Pod was rejected: Node didn't have enough resource: cpu, requested: 64000")
        assert node.status("far")["reason"] == "NodeAffinity"
        assert node.status("new")["reason"] == "PodFeatureUnsupported"
        assert node.status("odd")["phase"] == "Running"
        assert len(node.runtime.sandboxes) == 1


@virtual_time
async def test_what_a_container_waits_for(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
        await node.create(pod_object("web", [container(env=env)]))
        await asyncio.sleep(1)
        waiting = main_status(node)["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "conf" not found'}
        await node.cluster.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1"}}, "default")
        await asyncio.sleep(15)
        assert node.status("web")["phase"] == "Running"
        node.volumes.not_ready = 'MountVolume.SetUp failed for volume "data" : not attached'
        await node.create(pod_object("later", [container("late")]))
        await asyncio.sleep(3)
        assert node.status("later")["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        assert node.volumes.not_ready in node.events("FailedMount")
        node.volumes.not_ready = ""
        await asyncio.sleep(11)
        assert node.status("later")["phase"] == "Running"


@virtual_time
async def test_no_network(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        node.runtime.failures["run_pod_sandbox"] = lambda _: RuntimeFailure("no free address")
        await node.create(pod_object())
        await asyncio.sleep(5)
        text = "Failed to create pod sandbox: rpc error: code = Unknown desc = no free address"
        assert text in node.events("FailedCreatePodSandBox")
        assert node.status("web")["phase"] == "Pending"
        del node.runtime.failures["run_pod_sandbox"]
        await asyncio.sleep(11)
        assert node.status("web")["phase"] == "Running"


@virtual_time
async def test_a_restarted_agent_adopts(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        probe = {"exec": {"command": ["ok"]}, "initialDelaySeconds": 3}
        await node.create(pod_object("web", [container(readinessProbe=probe)]))
        await node.create(pod_object("gone", [container("other")]))
        await asyncio.sleep(6)
        assert node.condition("web", "Ready") == "True"
        await node.stop()
        calls, since = list(node.runtime.calls), node.status("web")["conditions"]
        await node.cluster.delete(PODS, "gone", "default", grace_period_seconds=0)
        await node.start()
        await asyncio.sleep(5)
        assert [call for call in node.runtime.calls[len(calls) :] if "start" in call[0] or "run" in call[0]] == []
        assert node.status("web")["conditions"] == since
        assert node.runtime.running() == ["main"]


class Away:
    """Makes the API server unreachable, for reads and writes."""

    def __init__(self, node: TestNode, patch: Patch) -> None:
        self._node = node
        self._patch = patch

    def __enter__(self) -> None:
        async def away(*_: Any, **__: Any) -> Any:
            raise ConnectionRefusedError("away")

        def no_watch(*_: Any, **__: Any) -> Any:
            raise ConnectionRefusedError("away")

        for name in ("get", "list", "create", "update", "patch", "delete"):
            self._patch.setattr(self._node.cluster, name, away)
        self._patch.setattr(self._node.cluster, "watch", no_watch)

    def __exit__(self, *_: object) -> None:
        for name in ("get", "list", "create", "update", "patch", "delete", "watch"):
            self._patch.delattr(self._node.cluster, name)


@virtual_time
async def test_a_reboot_without_api_server(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
        await node.cluster.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1"}}, "default")
        await node.create(pod_object("web", [container(env=env)]))
        await asyncio.sleep(3)
        assert node.status("web")["phase"] == "Running"
        await node.stop()
        node.runtime.power_off()
        with Away(node, monkeypatch):
            await node.start()
            await asyncio.sleep(15)
            assert node.runtime.running() == ["main"]
            variables = {item.key: item.value for item in node.runtime.container("main").config.envs}
            assert (variables["A"], variables["KUBERNETES_SERVICE_HOST"]) == ("1", "10.100.0.1")
            node.runtime.exit("main", 1)
            await asyncio.sleep(12)
            assert node.runtime.running() == ["main"]
            sandbox = next(iter(node.runtime.sandboxes))
        await asyncio.sleep(40)
        assert sandbox in node.runtime.sandboxes
        assert node.status("web")["phase"] == "Running"
        assert node.condition("web", "Ready") == "True"
        assert main_status(node)["restartCount"] == 2


@virtual_time
async def test_static_pods(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        manifests = tmp_path / "manifests"
        manifests.mkdir()
        text = "apiVersion: v1\nkind: Pod\nmetadata: {name: proxy, namespace: default}\n"
        (manifests / "proxy.yaml").write_text(text + "spec: {containers: [{name: main, image: 'app:1'}]}\n")
        await asyncio.sleep(8)
        name = "proxy-ip-192-168-1-7.us-west-2.compute.internal"
        mirror = node.pod(name)
        assert mirror is not None
        assert mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
        assert mirror["status"]["phase"] == "Running"
        await node.cluster.delete(PODS, name, "default", grace_period_seconds=0)
        await asyncio.sleep(5)
        assert node.pod(name) is not None
        assert node.runtime.running() == ["main"]
        (manifests / "proxy.yaml").unlink()
        await asyncio.sleep(5)
        assert node.pod(name) is None
        assert not node.runtime.running()


@virtual_time
async def test_ephemeral_containers_and_gates(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("web", readinessGates=[{"conditionType": "example.com/up"}]))
        await asyncio.sleep(2)
        assert (node.condition("web", "ContainersReady"), node.condition("web", "Ready")) == ("True", "False")
        gate = {"type": "example.com/up", "status": "True"}
        patch = {"status": {"conditions": [gate]}}
        kind: Any = "application/strategic-merge-patch+json"
        await node.cluster.patch(PODS, "web", patch, "default", subresource="status", patch_type=kind)
        await asyncio.sleep(2)
        assert node.condition("web", "Ready") == "True"
        assert node.condition("web", "example.com/up") == "True"
        pod = node.pod("web")
        assert pod is not None
        pod["spec"]["ephemeralContainers"] = [container("debug", targetContainerName="main")]
        await node.cluster.update(PODS, pod)
        await asyncio.sleep(2)
        option = node.runtime.container("debug").config.linux.security_context.namespace_options
        assert (option.pid, option.target_id) == (cri.TARGET, node.runtime.container("main").id)
        assert "running" in node.status("web")["ephemeralContainerStatuses"][0]["state"]


@virtual_time
async def test_statuses_are_written_sparingly(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object())
        await asyncio.sleep(3)
        writes = [write for write in node.cluster.writes if write[1] == PODS]
        assert len(writes) <= 5
        await asyncio.sleep(600)
        assert [write for write in node.cluster.writes if write[1] == PODS] == writes


@virtual_time
async def test_an_oom_kill_is_told(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object())
        await asyncio.sleep(2)
        node.runtime.container("main").script = Script(termination_message="out of it")
        node.runtime.exit("main", 137, "OOMKilled")
        await asyncio.sleep(3)
        last = main_status(node)["lastState"]["terminated"]
        assert (last["reason"], last["exitCode"], last["message"]) == ("OOMKilled", 137, "out of it")
