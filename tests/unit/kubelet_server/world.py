"""A node for the kubelet's server: pods as the pod loop would report them, a runtime in memory, an API that reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.contract import PodVolumes
from twinplane.dataplane.node.contract import Machine, NodeConfiguration
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError

START = 1_700_000_000.0
MIB = 1024**2


def configuration(**kubelet: Any) -> NodeConfiguration:
    machine = Machine(
        instance_id="i-1",
        instance_type="m5.large",
        image_id="ami-1",
        region="eu-west-1",
        availability_zone="eu-west-1a",
        account_id="1",
        vpc_id="vpc-1",
        subnet_id="subnet-1",
        network_interface_id="eni-1",
        private_ip="10.0.0.5",
        private_dns_name="ip-10-0-0-5.eu-west-1.compute.internal",
        cluster="demo",
        user_data="",
        aws_endpoint="http://169.254.169.252",
        api_servers=("https://10.0.0.2",),
        host_address="100.64.0.5",
        cgroup="/twinplane/i-1",
        vcpus=2,
        memory_mebibytes=8192,
        root_volume_gibibytes=20,
    )
    return NodeConfiguration(
        machine=machine,
        name=machine.private_dns_name,
        provider_id="aws:///eu-west-1a/i-1",
        certificate_authority="",
        kubernetes_version="v1.36.0-eks-1",
        service_cidr="10.100.0.0/16",
        cluster_dns="10.100.0.10",
        kubelet=kubelet,
    )


def pod(
    name: str = "web", *, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any
) -> Object:
    """Running, with one container `main` whose id is NAME-main."""
    resources = {"requests": requests or {}, "limits": limits or {}}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"containers": [{"name": "main", "image": "nginx", "resources": resources}], **spec},
        "status": {
            "phase": "Running",
            "startTime": "2023-11-14T22:13:20Z",
            "containerStatuses": [
                {
                    "name": "main",
                    "image": "docker.io/library/nginx:latest",
                    "containerID": f"containerd://{name}-main",
                    "state": {"running": {"startedAt": "2023-11-14T22:13:21Z"}},
                    "lastState": {},
                    "restartCount": 0,
                }
            ],
        },
    }


class Pods:
    """Implements `RunningPods`."""

    def __init__(self, *pods: Object) -> None:
        self.all = list(pods)
        self.evicted: list[tuple[str, str]] = []

    def pods(self) -> list[Object]:
        return self.all

    def pod(self, namespace: str, name: str) -> Object | None:
        wanted = (namespace, name)
        return next((p for p in self.all if (p["metadata"]["namespace"], p["metadata"]["name"]) == wanted), None)

    def container_id(self, uid: str, container: str) -> str | None:
        name = uid.removeprefix("uid-")
        return f"{name}-{container}" if self.pod("default", name) is not None and container == "main" else None

    def sandbox_id(self, uid: str) -> str | None:
        return f"{uid.removeprefix('uid-')}-sandbox"

    async def evict(self, pod: Object, message: str, reason: str = "Evicted") -> None:
        self.evicted.append((pod["metadata"]["name"], message))
        pod["status"] = {"phase": "Failed", "reason": reason}


class Volumes:
    """What eviction and garbage collection ask of `PodVolumes`."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.used: dict[str, dict[str, int]] = {}

    async def left_behind(self) -> list[str]:
        return list(self.left)

    async def unmount(self, uid: str) -> None:
        self.left.remove(uid)

    def used_by(self, uid: str) -> dict[str, int]:
        return self.used.get(uid, {})

    def as_contract(self) -> PodVolumes:
        return cast("PodVolumes", self)


class MemoryRuntime:
    """The calls of `Runtime` that the server, the statistics and the garbage collection make."""

    def __init__(self) -> None:
        self.containers: dict[str, cri.Container] = {}
        self.sandboxes: dict[str, cri.PodSandbox] = {}
        self.images: dict[str, cri.Image] = {}
        self.logs: dict[str, Path] = {}
        self.reopened: list[str] = []
        self.fails_to_reopen = False

    def add(self, id: str, *, uid: str = "uid-web", running: bool = True, created: int = 1, **more: Any) -> None:
        name, attempt = more.get("name", "main"), more.get("attempt", 0)
        labels = {
            "io.kubernetes.pod.uid": uid,
            "io.kubernetes.pod.name": uid.removeprefix("uid-"),
            "io.kubernetes.pod.namespace": "default",
        }
        self.containers[id] = cri.Container(
            id=id,
            pod_sandbox_id=more.get("sandbox", "s"),
            metadata=cri.ContainerMetadata(name=name, attempt=attempt),
            image=cri.ImageSpec(image=more.get("image", "")),
            image_ref=more.get("image", ""),
            state=cri.CONTAINER_RUNNING if running else cri.CONTAINER_EXITED,
            created_at=created,
            labels=labels,
        )

    async def list_containers(self, filter: cri.ContainerFilter | None = None) -> list[cri.Container]:
        found = list(self.containers.values())
        if filter is not None and filter.HasField("state"):
            found = [item for item in found if item.state == filter.state.state]
        return found

    async def list_pod_sandboxes(self, filter: cri.PodSandboxFilter | None = None) -> list[cri.PodSandbox]:
        return list(self.sandboxes.values())

    async def container_status(self, container_id: str, *, verbose: bool = False) -> cri.ContainerStatusResponse:
        item = self.containers.get(container_id)
        if item is None:
            raise RuntimeFailure("not found", "NOT_FOUND")
        path = str(self.logs.get(container_id, ""))
        return cri.ContainerStatusResponse(status=cri.ContainerStatus(id=item.id, state=item.state, log_path=path))

    async def remove_container(self, container_id: str) -> None:
        del self.containers[container_id]

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        del self.sandboxes[sandbox_id]

    async def reopen_container_log(self, container_id: str) -> None:
        if self.fails_to_reopen:
            raise RuntimeFailure("no")
        self.reopened.append(container_id)
        self.logs[container_id].touch()

    async def list_images(self, filter: cri.ImageFilter | None = None) -> list[cri.Image]:
        return list(self.images.values())

    async def remove_image(self, image: str) -> None:
        del self.images[image]

    async def exec_sync(self, container_id: str, command: list[str], timeout: float) -> cri.ExecSyncResponse:
        if command == ["false"]:
            return cri.ExecSyncResponse(exit_code=1, stderr=b"no")
        return cri.ExecSyncResponse(stdout=" ".join(command).encode())

    async def image_fs_info(self) -> cri.ImageFsInfoResponse:
        return cri.ImageFsInfoResponse(
            image_filesystems=[cri.FilesystemUsage(used_bytes=cri.UInt64Value(value=5 * MIB))]
        )

    async def list_container_stats(self, filter: cri.ContainerStatsFilter | None = None) -> list[cri.ContainerStats]:
        return [
            cri.ContainerStats(
                attributes=cri.ContainerAttributes(id=container),
                writable_layer=cri.FilesystemUsage(
                    used_bytes=cri.UInt64Value(value=4096), inodes_used=cri.UInt64Value(value=3)
                ),
            )
            for container in self.containers
        ]

    def as_contract(self) -> Runtime:
        return cast("Runtime", self)


class Reviews:
    """An API server that knows tokens and permissions, and signs certificates when told to."""

    def __init__(self) -> None:
        self.tokens = {"admin": "alice", "reader": "bob"}
        self.may = {
            ("alice", "get", "proxy"),
            ("alice", "create", "proxy"),
            ("alice", "get", "log"),
            ("bob", "get", "metrics"),
            ("bob", "get", "pods"),
        }
        self.asked: list[str] = []
        self.is_away = False
        self.requests: dict[str, Object] = {}
        self.sign: Any = None

    async def create(self, resource: Resource, body: Object, namespace: str | None = None, **_: Any) -> Object:
        if self.is_away:
            raise ConnectionError("no API server")
        self.asked.append(resource.plural)
        spec = body["spec"]
        if resource.plural == "tokenreviews":
            name = self.tokens.get(spec["token"])
            user = {"username": name, "uid": "1", "groups": ["people"]}
            return {"status": {"authenticated": name is not None, "user": user if name else {}}}
        if resource.plural == "subjectaccessreviews":
            asked = spec["resourceAttributes"]
            return {"status": {"allowed": (spec["user"], asked["verb"], asked["subresource"]) in self.may}}
        name = f"csr-{len(self.requests)}"
        self.requests[name] = {**body, "metadata": {"name": name}}
        return self.requests[name]

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        found = self.requests.get(name)
        if found is None:
            raise ApiError("NotFound", name, code=404)
        return self.sign(found) if self.sign is not None else found

    def as_contract(self) -> KubeClient:
        return cast("KubeClient", self)
