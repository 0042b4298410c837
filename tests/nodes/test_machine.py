"""Instances as machines: they boot to a running container, survive what they should, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cri_api.v1 import api_pb2 as cri

from tests.nodes.machines_host import BUSYBOX, IMAGES, Cri, Host, busybox, daemon, host, instance, until
from twinplane.cloud.machines.cgroups import MOUNTS, hierarchies
from twinplane.cloud.machines.machine import take_all_away
from twinplane.cloud.machines.requirements import requirements
from twinplane.cloud.network.contract import region_id
from twinplane.images.archive import export

LACKING = requirements(Path("/tmp"))
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(LACKING), reason=" ".join(LACKING) or "-")]

ID = "i-0a1b2c3d4e5f"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path / "data") as found:
        yield found


def archive() -> Path:
    path = IMAGES / "busybox.tar"
    if not path.exists():
        export(busybox(), BUSYBOX, path)
    return path


async def running_container(node: Host) -> tuple[Cri, str, str]:
    """CRI client, sandbox and container."""
    node.boot(instance(ID))
    root = await node.until_booted(ID)

    def run() -> tuple[Cri, str, str]:
        client = Cri(root)
        client.load(archive())
        sandbox, config = client.sandbox("web", node.machine(ID).cgroup)
        return client, sandbox, client.container(sandbox, config, str(BUSYBOX))

    return await asyncio.to_thread(run)


def processes_of(pid: int) -> list[int]:
    """All in the PID namespace of a process."""
    wanted = os.readlink(f"/proc/{pid}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid_for_children") == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def text(path: str) -> str:
    return Path(path).read_text()


def on_the_host(path: str) -> bool:
    return Path(path).exists()


def alive(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def named(pid: int, name: str) -> int:
    return next(each for each in processes_of(pid) if Path(f"/proc/{each}/comm").read_text().strip() == name)


def pod_mounts(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]


def groups(cgroup: str) -> list[Path]:
    found = [each.root / cgroup[1:] for each in hierarchies(MOUNTS.read_text())]
    return [path for path in found if path.is_dir()]


async def test_a_machine_runs_a_container(node: Host) -> None:
    client, sandbox, container = await running_container(node)
    shell = ("/bin/busybox", "sh", "-c")
    output = await asyncio.to_thread(client.execute, container, *shell, "echo $((6*7)); /bin/busybox ip addr")
    assert output.startswith("42\n")
    assert "inet 10.99.0." in output

    group = node.machine(ID).cgroup
    pid = node.pid(ID)
    assert pid is not None
    assert f":{group}/system" in text(f"/proc/{pid}/cgroup")
    assert any((path / "kubepods/podweb").is_dir() for path in groups(group))
    root = Path(f"/proc/{pid}/root")
    assert (root / "etc/hostname").read_text() == "ip-10-0-0-5.us-west-2.compute.internal\n"
    assert (root / "run/twinplane/credentials.json").exists()
    assert "169.254.169.253" in (root / "etc/resolv.conf").read_text()
    assert (root / "var/log/pods/default_web/main.log").exists()
    assert (node.machine(ID).directory / "disk/var/log/pods/default_web").exists()
    assert not on_the_host("/etc/cni/net.d/10-test.conflist")
    assert pod_mounts(node.directory) == []

    await asyncio.to_thread(client.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
    assert client.state(container) == cri.CONTAINER_EXITED


async def test_containers_outlive_containerd(node: Host) -> None:
    _, _, container = await running_container(node)
    pid = node.pid(ID)
    assert pid is not None
    before = named(pid, "containerd")
    os.kill(before, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{before}").exists())
    client = await asyncio.to_thread(Cri, await node.until_booted(ID))
    assert named(pid, "containerd") != before
    assert client.state(container) == cri.CONTAINER_RUNNING
    assert await asyncio.to_thread(client.execute, container, "/bin/busybox", "echo", "on") == "on\n"


async def test_the_end_of_pid_1_is_the_end_of_all_and_a_new_start(node: Host) -> None:
    await running_container(node)
    pid = node.pid(ID)
    assert pid is not None
    everything = processes_of(pid)
    assert len(everything) >= 4
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{each}/exe").exists() for each in everything))
    await until(lambda: node.pid(ID) not in (None, pid), node.console(ID))
    # The disk was kept: the image needs no second pull.
    client = await asyncio.to_thread(Cri, await node.until_booted(ID))
    images = client.images.ListImages(cri.ListImagesRequest()).images
    assert any(str(BUSYBOX) in image.repo_tags for image in images)


async def test_stop_keeps_the_disk_and_terminate_removes_everything(node: Host) -> None:
    node.boot(instance(ID))
    await node.until_booted(ID)
    first = node.pid(ID)
    assert first is not None
    machine = node.machine(ID)
    # A reboot.
    node.account.put(instance(ID, boots=1))
    await until(lambda: node.pid(ID) not in (None, first), node.console(ID))
    await node.until_booted(ID)
    node.account.put(instance(ID, boots=1, state="stopped"))
    await until(lambda: machine.running() is None)
    assert (machine.directory / "disk/var/lib/containerd").is_dir()
    node.account.put(instance(ID, boots=1, state="terminated"))
    await until(lambda: not machine.directory.exists())
    assert groups(machine.cgroup) == []


async def test_a_new_daemon_adopts_machines_and_a_purge_takes_them_away(node: Host, tmp_path: Path) -> None:
    directory = tmp_path / "other"
    async with daemon(directory, node.account) as first:
        first.boot(instance(ID))
        await first.until_booted(ID)
        pid = first.pid(ID)
    async with daemon(directory, node.account) as second:
        await until(lambda: second.machines.running() == [ID])
        await asyncio.sleep(0.05)
        assert second.pid(ID) == pid
    await asyncio.to_thread(take_all_away, directory)
    assert not alive(pid)
    assert list((directory / "machines").iterdir()) == []
    assert pod_mounts(directory) == []
    assert groups(f"/twinplane/{region_id(directory)}") == []
