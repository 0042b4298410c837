"""Machines in network namespaces of the test's own: the loop on an account that the test writes, and a CRI client."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from cri_api.v1 import api_pb2 as cri
from cri_api.v1.api_pb2_grpc import ImageServiceStub, RuntimeServiceStub

from tests.nodes.namespaces import Namespaces
from twinplane.clock import SystemClock
from twinplane.cloud.contract import AwsCredentials, ChangeListener, Instance
from twinplane.cloud.machines.loop import Machines
from twinplane.cloud.machines.machine import Machine, first_process, take_all_away
from twinplane.cloud.machines.record import Surroundings
from twinplane.images.own import pause_archive
from twinplane.images.pack import Recipe, ensure, pack
from twinplane.images.reference import parse
from twinplane.images.store import ImageStore

IMAGES = Path("/tmp/twinplane-test-images")
"""Kept between runs: what is packed once need not be fetched again."""
BUSYBOX = parse("registry.test/busybox:1")
SECONDS = 120.0
CNI = {
    "cniVersion": "0.4.0",
    "name": "test",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
        },
    ],
}
FACTS = {"vcpus": 2, "memoryMiB": 1024, "maxPods": 17}


def instance(name: str, **changes: Any) -> Instance:
    made = Instance(
        instance_id=name,
        state="running",
        instance_type="t3.micro",
        image_id="ami-1",
        private_ip="10.0.0.5",
        private_dns_name="ip-10-0-0-5.us-west-2.compute.internal",
        vpc_id="vpc-1",
        subnet_id="subnet-1",
        availability_zone="us-west-2a",
        network_interface_id="eni-1",
        launch_time=0.0,
        cluster="demo",
        runtime="containerd",
        role="node",
    )
    return replace(made, **changes)


@dataclass
class Account:
    """`CloudState` and `InstanceNetworks` of a test."""

    spaces: Namespaces
    found: dict[str, Instance] = field(default_factory=dict)
    listeners: list[ChangeListener] = field(default_factory=list)

    def put(self, *instances: Instance) -> None:
        self.found |= {each.instance_id: each for each in instances}
        for listener in self.listeners:
            listener("ec2")

    def instances(self, cluster: str = "") -> list[Instance]:
        del cluster
        return list(self.found.values())

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        del vpc_id, address
        return None

    def subscribe(self, listener: ChangeListener) -> None:
        self.listeners.append(listener)

    async def instance_network(self, instance_id: str) -> str:
        return self.spaces.names.get(instance_id) or self.spaces.add(instance_id)


@dataclass
class Host:
    directory: Path
    account: Account
    machines: Machines

    def machine(self, name: str) -> Machine:
        return Machine(self.directory, name)

    def boot(self, *instances: Instance) -> None:
        for each in instances:
            network = self.machine(each.instance_id).directory / "disk/overlays/etc/upper/cni/net.d"
            network.mkdir(parents=True, exist_ok=True)
            (network / "10-test.conflist").write_text(json.dumps(CNI))
        self.account.put(*instances)

    def pid(self, name: str) -> int | None:
        """Of PID 1, on the host."""
        process = self.machine(name).running()
        found = first_process(process.pid) if process is not None else None
        return found.pid if found is not None else None

    async def until_booted(self, name: str) -> Path:
        """The root of the machine's file system, when containerd answers."""

        def ready() -> Path | None:
            pid = self.pid(name)
            root = Path(f"/proc/{pid}/root")
            return root if pid and (root / "run/containerd/containerd.sock").exists() else None

        root: Path = await until(ready, self.console(name))
        await asyncio.to_thread(Cri, root)
        return root

    def console(self, name: str) -> Callable[[], str]:
        path = self.machine(name).directory / "console.log"
        return lambda: path.read_text() if path.exists() else "no console"


async def until(ready: Callable[[], Any], why: Callable[[], str] = lambda: "not in time") -> Any:
    try:
        async with asyncio.timeout(SECONDS):
            while not (found := ready()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(why()) from None
    return found


async def _nothing(*_: object) -> Sequence[str]:
    return ()


async def _facts(_: str) -> dict[str, Any]:
    return FACTS


def surroundings() -> Surroundings:
    return Surroundings(
        region="us-west-2",
        account_id="123456789012",
        instance_type=_facts,
        credentials=lambda arn, expiration=None: AwsCredentials("ASIA", "secret", arn),
        api_servers=_nothing,
        host_address=lambda vpc, address: None,
        kubernetes_version=lambda image: "v1.36.1-eks-1",
        instance_store=_nothing,
    )


@asynccontextmanager
async def host(directory: Path) -> AsyncIterator[Host]:
    """Everything that it started is gone afterwards."""
    spaces = Namespaces()
    try:
        async with daemon(directory, Account(spaces)) as found:
            yield found
    finally:
        await asyncio.to_thread(take_all_away, directory)
        for name in list(spaces.names):
            spaces.delete(name)
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def daemon(directory: Path, account: Account) -> AsyncIterator[Host]:
    """The loop alone: leaving it is what the death of a daemon is to machines."""

    async def pause() -> Path:
        """Beside the disks, as hard links need."""
        await asyncio.to_thread(pause_archive, IMAGES)
        return await asyncio.to_thread(beside)

    def beside() -> Path:
        target = directory / "pause.tar"
        if not target.exists():
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(IMAGES / "pause.tar", target)
        return target

    machines = Machines(directory, account, account, surroundings(), pause_archive=pause, clock=SystemClock())
    running = asyncio.create_task(machines.run())
    try:
        yield Host(directory, account, machines)
    finally:
        running.cancel()
        await asyncio.wait([running])


def busybox() -> ImageStore:
    store = ImageStore(IMAGES)
    recipe = Recipe(apt=("busybox-static",), minimal=True, command=("/bin/busybox", "sleep", "1000"))
    ensure(store, BUSYBOX, lambda: pack(store, IMAGES / "apt", BUSYBOX, recipe))
    return store


class Cri:
    """What crictl does, on the socket of a machine as the host sees it."""

    def __init__(self, root: Path) -> None:
        channel = grpc.insecure_channel(f"unix://{root}/run/containerd/containerd.sock")
        grpc.channel_ready_future(channel).result(SECONDS)
        self.runtime = RuntimeServiceStub(channel)  # type: ignore[no-untyped-call]
        self.images = ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        self._root = root
        self._until_initialized()

    def _until_initialized(self) -> None:
        """After a start containerd first finds the containers that it has."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.runtime.Status(cri.StatusRequest(), timeout=SECONDS)
            except grpc.RpcError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return

    def load(self, archive: Path) -> None:
        socket = f"--address={self._root}/run/containerd/containerd.sock"
        command = ["ctr", socket, "--namespace=k8s.io", "images", "import", str(archive)]
        subprocess.run(command, check=True, capture_output=True)

    def sandbox(self, name: str, cgroup: str) -> tuple[str, Any]:
        metadata = cri.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="default")
        config = cri.PodSandboxConfig(
            metadata=metadata,
            log_directory=f"/var/log/pods/default_{name}",
            linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"{cgroup}/kubepods/pod{name}"),
        )
        found = self.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config), timeout=SECONDS)
        return found.pod_sandbox_id, config

    def container(self, sandbox: str, config: Any, image: str) -> str:
        made = self.runtime.CreateContainer(
            cri.CreateContainerRequest(
                pod_sandbox_id=sandbox,
                sandbox_config=config,
                config=cri.ContainerConfig(
                    metadata=cri.ContainerMetadata(name="main"), image=cri.ImageSpec(image=image), log_path="main.log"
                ),
            ),
            timeout=SECONDS,
        )
        self.runtime.StartContainer(cri.StartContainerRequest(container_id=made.container_id), timeout=SECONDS)
        return str(made.container_id)

    def execute(self, container: str, *command: str) -> str:
        request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=60)
        found = self.runtime.ExecSync(request, timeout=SECONDS)
        assert found.exit_code == 0, found.stderr
        return bytes(found.stdout).decode()

    def state(self, container: str) -> int:
        found = self.runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=container), timeout=SECONDS)
        return int(found.status.state)
