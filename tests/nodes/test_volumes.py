"""Volumes on a real kernel: mounts, loop devices, file systems. Needs root and loop devices."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest

from twinplane.clock import SystemClock
from twinplane.cloud.contract import ChangeListener, Instance
from twinplane.cloud.volumes import images, loop_devices
from twinplane.cloud.volumes.contract import Snapshot, Storage, Volume
from twinplane.cloud.volumes.data_path import DataPath, release_all
from twinplane.cloud.volumes.loop import Volumes as EbsLoop
from twinplane.dataplane.kubelet.contract import InvalidMount, VolumeNotReady
from twinplane.dataplane.volumes import filesystems, mounts
from twinplane.dataplane.volumes.contract import Node
from twinplane.dataplane.volumes.volumes import Volumes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
    VOLUME_ATTACHMENTS,
)
from twinplane.testing.memory_cluster import MemoryCluster

VOLUME = "vol-0123456789abcdef0"
TOOLS = ("mkfs.ext4", "resize2fs", "mount")


def missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    if lacking or not Path(loop_devices.CONTROL).exists():
        return f"needs {', '.join(lacking) or 'loop devices'}"
    return ""


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


def until(done: Callable[[], object]) -> None:
    """The kernel takes its time to give a device back after its last user."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class References:
    """Objects as the kubelet keeps them, read from the cluster."""

    resources: ClassVar = {
        kind.plural: kind
        for kind in (CONFIG_MAPS, SECRETS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS)
    }

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._cluster.object(self.resources[resource], name, namespace)


class Host:
    """A data directory, nodes on it, and a cluster in memory."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.cluster = MemoryCluster()
        self.path = DataPath(self.data, time.monotonic)
        self.nodes: list[Path] = []
        self._directory = directory

    def node(self, name: str, attach_seconds: float = 60.0) -> Volumes:
        root = self._directory / name / "kubelet"
        self.nodes.append(root)
        node = Node(
            name,
            self.cluster,
            References(self.cluster),
            SystemClock(),
            instance_id=name,
            root=root,
            devices=self.data / "machines" / name / "run" / "devices",
            attach_seconds=attach_seconds,
        )
        return Volumes(node)

    def apply(self, storage: Storage) -> bool:
        return self.path.apply(storage, {"i-1", "i-2"})

    def attach(self, instance: str, size: int = 1) -> None:
        assert self.apply(Storage({VOLUME: Volume(size, "", instance)}))

    async def attachment(self, node: str) -> None:
        name = f"csi-{sha256(f'{VOLUME}ebs.csi.aws.com{node}'.encode()).hexdigest()}"
        spec = {"attacher": "ebs.csi.aws.com", "nodeName": node, "source": {"persistentVolumeName": "pv"}}
        body = {"metadata": {"name": name}, "spec": spec, "status": {"attached": True}}
        self.cluster.seed(VOLUME_ATTACHMENTS, body)

    async def claim(self, **spec: Any) -> None:
        claim = {
            "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"volumeName": "pv", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        }
        self.cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim)
        stored = self.cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "shop")
        assert stored is not None
        source = {"driver": "ebs.csi.aws.com", "volumeHandle": VOLUME, "fsType": "ext4"}
        bound = {"namespace": "shop", "name": "data", "uid": uid_of(stored)}
        whole = {"capacity": {"storage": "1Gi"}, "csi": source, "claimRef": bound, "accessModes": ["ReadWriteOnce"]}
        self.cluster.seed(PERSISTENT_VOLUMES, {"metadata": {"name": "pv"}, "spec": whole | spec})

    def close(self) -> None:
        for root in self.nodes:
            mounts.unmount_all(root)
        until(lambda: not release_all(self.data))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()


def pod(uid: str, *volumes: Object, mount: Object | None = None, **spec: Any) -> Object:
    uses = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} | (mount or {}) for volume in volumes]
    containers = [{"name": "app", "volumeMounts": uses}]
    whole = {"containers": containers, "volumes": list(volumes), "serviceAccountName": "default"} | spec
    return {"metadata": {"name": f"pod-{uid}", "namespace": "shop", "uid": uid}, "spec": whole}


def content(path: str) -> str:
    return Path(path).read_text()


DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}


async def test_a_config_map_changes_in_place(host: Host) -> None:
    host.cluster.seed(
        CONFIG_MAPS, {"metadata": {"name": "settings", "namespace": "shop"}, "data": {"a": "1", "b": "2"}}
    )
    volumes = host.node("i-1")
    body = pod("u1", {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o400}})
    path = (await volumes.mount(body))["settings"].path
    before = os.readlink(path / "..data")
    opened = os.open(path, os.O_PATH)
    try:
        await volumes.refresh(body)
        assert os.readlink(path / "..data") == before
        patch = {"data": {"a": "one", "b": None, "c": "3"}}
        await host.cluster.patch(CONFIG_MAPS, "settings", patch, "shop")
        await volumes.refresh(body)
        assert os.readlink(path / "..data") != before
        assert sorted(name for name in os.listdir(f"/proc/self/fd/{opened}") if name[0] != ".") == ["a", "c"]
        assert content(f"/proc/self/fd/{opened}/a") == "one"
        assert (path / "a").stat().st_mode & 0o777 == 0o400
    finally:
        os.close(opened)
    await volumes.unmount("u1")
    assert await volumes.left_behind() == []


async def test_what_is_missing_is_said_as_upstream_does(host: Host) -> None:
    volumes = host.node("i-1")
    with pytest.raises(VolumeNotReady, match=r'^MountVolume.SetUp failed for volume "x" : configmap "y" not found$'):
        await volumes.mount(pod("u1", {"name": "x", "configMap": {"name": "y"}}))
    with pytest.raises(VolumeNotReady, match="hostPath type check failed: /etc/hosts is not a directory"):
        await volumes.mount(pod("u2", {"name": "x", "hostPath": {"path": "/etc/hosts", "type": "Directory"}}))
    mounted = await volumes.mount(pod("u3", {"name": "x", "secret": {"secretName": "y", "optional": True}}))
    assert not list(mounted["x"].path.glob("[!.]*"))
    assert await volumes.left_behind() == ["u3"]
    await volumes.unmount("u3")


async def test_memory(host: Host) -> None:
    volumes = host.node("i-1")
    body = pod("u1", {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    path = (await volumes.mount(body))["cache"].path
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize == 1 << 20
    (path / "file").write_bytes(b"x" * 100_000)
    assert 100_000 <= volumes.used_by("u1")["cache"] <= 120_000
    with pytest.raises(OSError, match="No space"):
        (path / "more").write_bytes(b"x" * (1 << 20))
    # Another agent, which knows nothing of the first.
    await host.node("i-1").unmount("u1")
    assert not path.exists()


async def test_the_group_of_the_pod(host: Host) -> None:
    volumes = host.node("i-1")
    host.cluster.seed(SECRETS, {"metadata": {"name": "key", "namespace": "shop"}, "data": {"key": "eA=="}})
    source = {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}}
    body = pod("u1", source, {"name": "work", "emptyDir": {}}, securityContext={"fsGroup": 4242})
    mounted = await volumes.mount(body)
    key, work = (mounted["key"].path / "key").stat(), mounted["work"].path.stat()
    assert (key.st_gid, key.st_mode & 0o777) == (4242, 0o440)
    assert (work.st_gid, work.st_mode & 0o7777) == (4242, 0o2777)
    await volumes.unmount("u1")


async def test_sub_paths_stay_in_their_volume(host: Host) -> None:
    volumes = host.node("i-1")
    body = pod("u1", {"name": "work", "emptyDir": {}}, mount={"subPathExpr": "$(NAME)/deep"})
    mounted = await volumes.mount(body)
    container = body["spec"]["containers"][0]
    (made,) = volumes.container_mounts(body, container, mounted, {"NAME": "web"})
    work = mounted["work"].path
    (work / "web/deep/file").write_text("1")
    assert (Path(made.host_path) / "file").read_text() == "1"
    assert volumes.container_mounts(body, container, mounted, {"NAME": "web"}) == [made]
    (work / "evil").symlink_to("/etc")
    container["volumeMounts"][0] = {"name": "work", "mountPath": "/x", "subPath": "evil"}
    with pytest.raises(InvalidMount, match="not within volume path"):
        volumes.container_mounts(body, container, mounted, {})
    (work / "evil2").symlink_to("../../../..")
    container["volumeMounts"][0]["subPath"] = "evil2/etc"
    with pytest.raises(InvalidMount):
        volumes.container_mounts(body, container, mounted, {})
    await volumes.unmount("u1")
    assert not work.exists()


async def test_a_disk_moves_between_nodes_with_its_data(host: Host) -> None:
    await host.claim()
    first, second = host.node("i-1"), host.node("i-2", attach_seconds=0.05)
    with pytest.raises(VolumeNotReady, match="timed out waiting for the condition"):
        await second.mount(pod("u0", DATA))
    assert second.in_use() == []
    host.attach("i-1")
    await host.attachment("i-1")
    mounted = await first.mount(pod("u1", DATA))
    shared = await first.mount(pod("u2", DATA))
    (mounted["data"].path / "file").write_text("kept")
    assert (shared["data"].path / "file").read_text() == "kept"
    assert first.in_use() == [f"kubernetes.io/csi/ebs.csi.aws.com^{VOLUME}"]
    await first.unmount("u1")
    assert first.in_use() != []
    await host.node("i-1").unmount("u2")
    assert first.in_use() == []
    host.attach("i-2")
    await host.attachment("i-2")
    moved = await second.mount(pod("u3", DATA))
    assert (moved["data"].path / "file").read_text() == "kept"
    await second.unmount("u3")


async def test_a_disk_grows_while_it_is_mounted(host: Host) -> None:
    await host.claim()
    host.attach("i-1")
    await host.attachment("i-1")
    volumes = host.node("i-1")
    body = pod("u1", DATA)
    path = (await volumes.mount(body))["data"].path
    before = os.statvfs(path).f_blocks
    host.attach("i-1", 2)
    await host.cluster.patch(PERSISTENT_VOLUMES, "pv", {"spec": {"capacity": {"storage": "2Gi"}}})
    status = {"status": {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}}
    await host.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", status, "shop", subresource="status")
    await volumes.refresh(body)
    if not filesystems.can_grow_mounted("ext4"):
        # This host withholds CAP_SYS_RESOURCE: it happens when the volume is mounted the next time.
        assert os.statvfs(path).f_blocks == before
        await volumes.unmount("u1")
        await volumes.mount(body)
    assert os.statvfs(path).f_blocks > before * 1.8
    claim = host.cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "shop")
    assert claim is not None
    assert claim["status"]["capacity"] == {"storage": "2Gi"}
    assert not claim["status"].get("conditions")
    await volumes.unmount("u1")


async def test_a_volume_of_a_snapshot_starts_with_its_content(host: Host) -> None:
    await host.claim()
    host.attach("i-1")
    await host.attachment("i-1")
    volumes = host.node("i-1")
    path = (await volumes.mount(pod("u1", DATA)))["data"].path
    (path / "file").write_text("old")
    os.sync()
    snapshots = {"snap-1": Snapshot(VOLUME, 1)}
    source = Volume(1, "", "i-1")
    assert host.apply(Storage({VOLUME: source}, snapshots))
    (path / "file").write_text("new")
    await volumes.unmount("u1")
    host.apply(Storage({VOLUME: Volume(1), "vol-2": Volume(1, "snap-1"), "vol-3": Volume(1, "snap-1")}, {}))
    restored = host.data / "volumes" / "vol-2.img"
    assert restored.stat().st_blocks * 512 < 100 << 20, "holes stay holes"
    device = loop_devices.attach(restored)
    target = host.data / "look"
    target.mkdir()
    try:
        subprocess.run(["mount", device, str(target)], check=True)
        assert (target / "file").read_text() == "old"
    finally:
        mounts.unmount(str(target))
        until(lambda: loop_devices.detach(device))


async def test_a_lost_node_is_cut_off(host: Host) -> None:
    """The volume goes elsewhere while its first machine still has it mounted: it cannot write any more."""
    await host.claim()
    host.attach("i-1")
    await host.attachment("i-1")
    lost, other = host.node("i-1"), host.node("i-2")
    path = (await lost.mount(pod("u1", DATA)))["data"].path
    (path / "file").write_text("kept")
    os.sync()
    moved = Storage({VOLUME: Volume(1, "", "i-2")})
    now = 0.0
    host.path = DataPath(host.data, lambda: now)
    assert not host.apply(moved)
    now = 4.0
    assert host.apply(moved)
    with pytest.raises(OSError, match="Input/output"):
        (path / "late").write_text("no")
    await host.attachment("i-2")
    there = (await other.mount(pod("u2", DATA)))["data"].path
    assert (there / "file").read_text() == "kept"
    await other.unmount("u2")
    await lost.unmount("u1")


async def test_block_devices(host: Host) -> None:
    await host.claim(volumeMode="Block")
    host.attach("i-1")
    await host.attachment("i-1")
    volumes = host.node("i-1")
    body = pod("u1", DATA)
    container = body["spec"]["containers"][0]
    container["volumeDevices"] = [{"name": "data", "devicePath": "/dev/data"}]
    del container["volumeMounts"]
    mounted = (await volumes.mount(body))["data"]
    assert mounted.block
    assert mounted.path.is_block_device()
    assert volumes.in_use() != []
    await volumes.unmount("u1")
    assert volumes.in_use() == []


def test_instance_stores_are_lost_with_the_instance(host: Host) -> None:
    assert host.path.make_instance_store("i-1", [1, 1]) == (
        "/run/twinplane/devices/nvme1n1",
        "/run/twinplane/devices/nvme2n1",
    )
    device = (host.data / "machines/i-1/run/devices/nvme1n1").resolve()
    with device.open("r+b") as file:
        file.write(b"here")
    host.path.make_instance_store("i-1", [1, 1])
    assert (host.data / "machines/i-1/run/devices/nvme1n1").resolve() == device
    host.path.forget_instance_stores(set())
    assert not loop_devices.attached(host.data)
    assert not list((host.data / "volumes/instance-store").iterdir())


class Account:
    """One machine, an m5d.large, and the storage that the test sets."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.state = "running"
        self.listeners: list[ChangeListener] = []

    def instances(self, cluster: str = "") -> list[Instance]:
        place = ("ami-1", "192.168.0.4", "ip", "vpc-1", "subnet-1", "us-west-2a", "eni-1", 0.0)
        return [Instance("i-1", self.state, "m5d.large", *place, runtime="containerd")]

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        return None

    def subscribe(self, listener: ChangeListener) -> None:
        self.listeners.append(listener)

    def change(self, storage: Storage) -> None:
        self.storage = storage
        for listener in self.listeners:
            listener("ec2")

    async def read(self) -> Storage | None:
        return self.storage

    async def instance_type(self, name: str) -> dict[str, Any] | None:
        return {"instanceStores": [1]}


async def test_the_loop_follows_the_account(host: Host) -> None:
    account = Account()
    loop = EbsLoop(host.data, account, account.read, account.instance_type)
    link = host.data / "machines/i-1/run/devices" / VOLUME
    store = host.data / "volumes/instance-store/i-1"

    async def soon(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():
                await asyncio.sleep(0.01)

    assert await loop.instance_store(account.instances()[0]) == ("/run/twinplane/devices/nvme1n1",)
    task = asyncio.create_task(loop.run())
    try:
        await soon(lambda: bool(account.listeners))
        account.change(Storage({VOLUME: Volume(1, "", "i-1")}))
        await soon(link.exists)
        assert filesystems.device_size(link) == 1 << 30
        account.change(Storage({VOLUME: Volume(3, "", "i-1")}))
        await soon(lambda: filesystems.device_size(link) == 3 << 30)
        account.change(Storage({VOLUME: Volume(3)}))
        await soon(lambda: not link.is_symlink())
        assert store.exists()
        account.state = "stopped"
        account.change(Storage())
        await soon(lambda: not store.exists())
        assert not (host.data / "volumes" / f"{VOLUME}.img").exists()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await loop.release()


def test_an_instance_store_in_use_is_tried_again(host: Host) -> None:
    path = DataPath(host.data, time.monotonic)
    path.make_instance_store("i-1", [1])
    store = host.data / "volumes/instance-store/i-1"
    (device,) = [found.device for found in loop_devices.attached(store)]
    with open(device, "rb"):
        assert not path.forget_instance_stores([])
        assert store.exists()
    assert path.forget_instance_stores([])
    assert not store.exists()


ATTACH_AND_WAIT = """
import sys, time
from pathlib import Path
from twinplane.cloud.volumes.contract import Storage, Volume
from twinplane.cloud.volumes.data_path import DataPath
path = DataPath(Path(sys.argv[1]), time.monotonic)
path.apply(Storage({"vol-1": Volume(1, "", "i-1"), "vol-2": Volume(1, "", "i-1")}), {"i-1"})
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_daemon_leaves_nothing_that_is_not_found(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ATTACH_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        daemon.send_signal(signal.SIGKILL)
    assert len(loop_devices.attached(tmp_path)) == 2
    path = DataPath(tmp_path, time.monotonic)
    kept = Storage({"vol-1": Volume(1, "", "i-1")})
    before = path.present().links
    assert path.apply(kept, {"i-1"})
    assert path.present().links == {("i-1", "vol-1"): before["i-1", "vol-1"]}
    until(lambda: not release_all(tmp_path))
    assert not loop_devices.attached(tmp_path)


def test_a_machine_of_its_own_is_cut_off_and_frees_its_disks(tmp_path: Path) -> None:
    """The mount is in another mount namespace: it is found there, and ends with the machine."""
    image, target = tmp_path / "volumes" / "vol-1.img", tmp_path / "mounted"
    target.mkdir()
    images.create(image, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    device = loop_devices.LoopDevice(loop_devices.attach(image), str(image))
    command = f"mount {device.device} {target} && echo ready && read line && touch {target}/late; echo $?; read line"
    unshared = ["unshare", "--mount", "--propagation=slave", "sh", "-c", command]
    with subprocess.Popen(
        unshared, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as machine:
        assert machine.stdin is not None
        assert machine.stdout is not None
        try:
            assert machine.stdout.readline() == b"ready\n"
            assert not loop_devices.detach(device.device)
            assert loop_devices.cut_off(device)
            machine.stdin.write(b"\n")
            machine.stdin.flush()
            assert machine.stdout.readline() == b"1\n"
        finally:
            machine.kill()
    until(lambda: not loop_devices.attached(tmp_path))
