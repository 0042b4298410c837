"""Statistics: files of both cgroup versions, a tree of them on disk, and the formats in which they are told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kubelet_server.cgroup_texts import NET_DEV, V1, V2
from tests.unit.kubelet_server.world import MIB, MemoryRuntime, Pods, Reviews, Volumes, configuration, pod
from twinplane.dataplane.exposition import Counter, Histogram, Registry, render
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.stats.cgroup_files import Device, flat, pressure, shares_of, usage_v1, usage_v2
from twinplane.dataplane.kubelet.stats.cgroup_tree import CgroupTree
from twinplane.dataplane.kubelet.stats.filesystems import FileSystem, FileSystems, Found, node_file_system
from twinplane.dataplane.kubelet.stats.proc_files import disks, interfaces, open_files_limit
from twinplane.dataplane.kubelet.stats.sampling import Rates
from twinplane.dataplane.kubelet.stats.statistics import Statistics
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def test_both_versions_tell_the_same() -> None:
    first = usage_v1(lambda name: V1.get(name, ""))
    second = usage_v2(lambda name: V2.get(name, ""))
    for name in (
        "memory",
        "working_set",
        "rss",
        "cache",
        "mapped",
        "kernel",
        "swap",
        "peak",
        "failures",
        "active_file",
    ):
        assert getattr(first, name) == getattr(second, name), name
    for name in (
        "page_faults",
        "major_faults",
        "oom_kills",
        "periods",
        "throttled_periods",
        "throttled",
        "quota",
        "period",
    ):
        assert getattr(first, name) == getattr(second, name), name
    assert first.working_set == 5000 - 410
    assert first.memory_limit == second.memory_limit == 128 * MIB
    assert (first.swap_limit, second.swap_limit, first.reservation) == (0, 0, 0)
    assert first.devices == second.devices == (Device(259, 0, 4096, 8192, 1, 2),)
    assert (first.cpu, second.cpu) == (1_234_567_890, 1_234_567_000)
    assert (first.cpu_user, second.cpu_user) == (1_000_000_000, 1_000_000_000)
    assert (first.threads_max, second.threads_max) == (0, 100)
    assert (first.shares, shares_of(20)) == (512, second.shares)
    assert (first.own_page_faults, second.own_page_faults) == (70, 71)
    assert second.pressure["memory"].full == (1_000_000, 0.0, 0.0, 0.0)
    assert set(second.pressure) == {"cpu", "memory"}


def test_nothing_is_nothing() -> None:
    for usage in (usage_v1(lambda name: ""), usage_v2(lambda name: "")):
        assert (usage.cpu, usage.memory, usage.period, usage.devices) == (0, 0, 100_000, ())


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    usage_v1(lambda name: text)
    usage_v2(lambda name: text)
    interfaces(text)
    disks(text)
    flat(text)
    pressure(text)


def test_proc_files() -> None:
    (interface,) = interfaces(NET_DEV)
    assert (interface.name, interface.rx_bytes, interface.rx_dropped, interface.tx_bytes) == ("eth0", 1000, 2, 2000)
    assert (interface.tx_errors, interface.tx_dropped) == (3, 4)
    line = " 259       0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 0 0 0 0 0 0\n"
    assert disks(line)[(259, 0)].weighted_io_time == 11
    limits = "Limit                     Soft Limit           Hard Limit           Units\n"
    assert (
        open_files_limit(f"{limits}Max open files            1024                 4096                 files\n") == 1024
    )
    assert open_files_limit(limits) is None


def test_the_node_sees_its_root_volume() -> None:
    host = FileSystem(1000, 600, 50, 40, 400)
    assert node_file_system(host, 0, 10) == host
    assert node_file_system(host, 950, 10) == host, "the file system is the volume"
    assert node_file_system(host, 100, 30) == FileSystem(100, 70, 50, 40, 30)
    assert node_file_system(host, 700, 30).available == 600, "no more than the host has"


def test_rates() -> None:
    rates = Rates()
    rates.observe("/a", 0.0, 0)
    rates.observe("/a", 1.0, 10**9)
    assert rates.rate("/a") == 0, "not over so short a time"
    rates.observe("/a", 10.0, 5 * 10**9)
    assert rates.rate("/a") == 500_000_000
    rates.observe("/a", 20.0, 0)
    assert rates.rate("/a") == 0, "a counter that began anew"
    rates.keep_only(set())
    assert rates.rate("/a") == 0


# -- a node ------------------------------------------------------------------------------------------------------------


def tree_on_disk(root: Path, texts: dict[str, str], *paths: str) -> CgroupTree:
    unified = "cpu.stat" in texts
    if unified:
        (root / "cgroup.controllers").write_text("cpu memory\n")
    for path in paths:
        for name, text in texts.items():
            controller, _, file = name.rpartition("/")
            directory = root / controller / f"twinplane/i-1{path}".rstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(text)
        procs = root / ("" if unified else "memory") / f"twinplane/i-1{path}".rstrip("/") / "cgroup.procs"
        procs.write_text("")
    return CgroupTree("/twinplane/i-1", root)


BURSTABLE = "/kubepods/burstable/poduid-web"
PATHS = ("/", "/kubepods", "/kubepods/burstable", BURSTABLE, f"{BURSTABLE}/web-sandbox", f"{BURSTABLE}/web-main")


def statistics(tree: CgroupTree, clock: VirtualClock) -> Statistics:
    runtime, volumes = MemoryRuntime(), Volumes()
    runtime.add("web-main")
    volumes.used["uid-web"] = {"scratch": 7 * MIB, "token": 4096}
    body = pod(volumes=[{"name": "scratch", "emptyDir": {}}, {"name": "token", "projected": {}}])
    return Statistics(
        configuration(),
        Pods(body),
        runtime.as_contract(),
        volumes.as_contract(),
        Reviews().as_contract(),
        clock=clock,
        metrics=KubeletMetrics(),
        tree=tree,
    )


async def ask(found: Statistics, path: str) -> str:
    application = web.Application()
    application.add_routes(found.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    await runner.cleanup()
    return text


@pytest.mark.parametrize("texts", [V1, V2], ids=["v1", "v2"])
@virtual_time
async def test_summary(texts: dict[str, str], tmp_path: Path, clock: VirtualClock) -> None:
    found = statistics(tree_on_disk(tmp_path, texts, *PATHS), clock)
    await found.files.look()
    body = json.loads(await ask(found, "/stats/summary"))
    node, (web_pod,) = body["node"], body["pods"]
    assert node["nodeName"] == "ip-10-0-0-5.eu-west-1.compute.internal"
    assert node["memory"]["availableBytes"] == 8192 * MIB - 4590
    assert node["fs"]["capacityBytes"] > 0
    assert node["runtime"]["imageFs"]["usedBytes"] == 5 * MIB
    assert node["rlimit"]["maxpid"] > 0
    assert [each["name"] for each in node["systemContainers"]] == ["pods"]
    assert web_pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    (container,) = web_pod["containers"]
    assert container["cpu"]["usageCoreNanoSeconds"] // 10**6 == 1234
    assert container["memory"]["workingSetBytes"] == 4590
    assert container["memory"]["availableBytes"] == 128 * MIB - 4590
    assert container["rootfs"]["usedBytes"] == 4096
    assert container["swap"] == {"time": container["swap"]["time"], "swapAvailableBytes": 0, "swapUsageBytes": 9}
    assert web_pod["ephemeral-storage"]["usedBytes"] == 4096 + 7 * MIB
    assert {each["name"]: each["usedBytes"] for each in web_pod["volume"]} == {"scratch": 7 * MIB, "token": 4096}
    short = json.loads(await ask(found, "/stats/summary?only_cpu_and_memory=true"))
    assert "fs" not in short["node"]
    assert "ephemeral-storage" not in short["pods"][0]


@virtual_time
async def test_resource_metrics(tmp_path: Path, clock: VirtualClock) -> None:
    text = await ask(statistics(tree_on_disk(tmp_path, V1, *PATHS), clock), "/metrics/resource")
    assert (
        'container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 1.23456789 17000000' in text
    )
    assert 'container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 4590 17000000' in text
    assert 'container_start_time_seconds{container="main",namespace="default",pod="web"} 1700000001\n' in text
    assert "resource_scrape_error 0\n" in text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == {
        *(
            f"{level}_{what}"
            for level in ("container", "node", "pod")
            for what in ("cpu_usage_seconds_total", "memory_working_set_bytes", "swap_usage_bytes")
        ),
        "container_swap_limit_bytes",
        "container_start_time_seconds",
        "resource_scrape_error",
    }


CADVISOR = """
cadvisor_version_info container_blkio_device_usage_total container_cpu_cfs_burst_periods_total
container_cpu_cfs_burst_seconds_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
container_cpu_cfs_throttled_seconds_total container_cpu_load_average_10s container_cpu_load_d_average_10s
container_cpu_system_seconds_total container_cpu_usage_seconds_total container_cpu_user_seconds_total
container_file_descriptors container_fs_inodes_free container_fs_inodes_total container_fs_io_current
container_fs_io_time_seconds_total container_fs_io_time_weighted_seconds_total container_fs_limit_bytes
container_fs_read_seconds_total container_fs_reads_bytes_total container_fs_reads_merged_total container_fs_reads_total
container_fs_sector_reads_total container_fs_sector_writes_total container_fs_usage_bytes
container_fs_write_seconds_total container_fs_writes_bytes_total container_fs_writes_merged_total
container_fs_writes_total container_last_seen container_memory_cache container_memory_failcnt
container_memory_failures_total container_memory_kernel_usage container_memory_mapped_file
container_memory_max_usage_bytes container_memory_rss container_memory_swap container_memory_total_active_file_bytes
container_memory_total_inactive_file_bytes container_memory_usage_bytes container_memory_working_set_bytes
container_oom_events_total container_processes container_scrape_error container_sockets container_spec_cpu_period
container_spec_cpu_quota container_spec_cpu_shares container_spec_memory_limit_bytes
container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes container_start_time_seconds
container_tasks_state container_threads container_threads_max machine_cpu_cores machine_cpu_physical_cores
machine_cpu_sockets machine_memory_bytes machine_nvm_avg_power_budget_watts machine_nvm_capacity machine_swap_bytes
"""


@pytest.mark.parametrize("texts", [V1, V2], ids=["v1", "v2"])
@virtual_time
async def test_cadvisor_metrics(texts: dict[str, str], tmp_path: Path, clock: VirtualClock) -> None:
    text = await ask(statistics(tree_on_disk(tmp_path, texts, *PATHS), clock), "/metrics/cadvisor")
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    network = {name for name in names if name.startswith("container_network_")}
    pressures = {name for name in names if name.startswith("container_pressure_")}
    assert names - network - pressures == set(CADVISOR.split())
    assert len(pressures) == (4 if texts is V2 else 0)
    base = 'namespace="default",pod="web"'
    image = "docker.io/library/nginx:latest"
    labels = f'container="main",id="{BURSTABLE}/web-main",image="{image}",name="web-main",{base}'
    assert f"container_memory_working_set_bytes{{{labels}}} 4590 17000000" in text
    assert f'container_memory_failures_total{{{labels},failure_type="pgfault",scope="hierarchy"}} 71 17' in text
    assert f"container_spec_memory_limit_bytes{{{labels}}} {128 * MIB}\n" in text
    assert f"container_spec_cpu_quota{{{labels}}} 50000\n" in text
    assert f"container_start_time_seconds{{{labels}}} 1700000001\n" in text
    node = 'container="",id="/",image="",name="",namespace="",pod=""'
    assert f'container_cpu_usage_seconds_total{{{node},cpu="total"}} 1.23' in text
    of_pod = f'container="",id="{BURSTABLE}",image="",name="",{base}'
    assert f"container_memory_usage_bytes{{{of_pod}}} 5000 17" in text
    assert f'container="",id="{BURSTABLE}/web-sandbox",image="",name="web-sandbox",{base}' in text
    assert 'machine_memory_bytes{boot_id="",machine_id="",system_uuid=""} 8589934592\n' in text


@virtual_time
async def test_own_metrics(tmp_path: Path, clock: VirtualClock) -> None:
    found = statistics(tree_on_disk(tmp_path, V1, *PATHS), clock)
    text = await ask(found, "/metrics")
    assert 'kubelet_node_name{node="ip-10-0-0-5.eu-west-1.compute.internal"} 1\n' in text
    assert "kubelet_running_pods 1\n" in text
    assert 'kubelet_running_containers{container_state="running"} 1\n' in text
    assert 'kubelet_desired_pods{static="false"} 1\n' in text
    assert 'git_version="v1.36.0-eks-1"' in text
    assert "process_resident_memory_bytes " in text
    assert "process_start_time_seconds " in await ask(found, "/metrics/probes")
    assert 'kubernetes_healthcheck{name="syncloop",type="healthz"} 1\n' in await ask(found, "/metrics/slis")


@virtual_time
async def test_a_pod_without_cgroup_is_not_told(tmp_path: Path, clock: VirtualClock) -> None:
    body: dict[str, Any] = json.loads(await ask(statistics(tree_on_disk(tmp_path, V1, "/"), clock), "/stats/summary"))
    assert body["pods"] == []


def test_registry() -> None:
    registry = Registry()
    counter = registry.add(Counter("b_total", "B.", ("kind",)))
    histogram = registry.add(Histogram("a_seconds", "A.", buckets=(1, 2)))
    counter.add("x")
    counter.add("x", amount=2)
    histogram.observe(1.5)
    assert render(registry.families()) == (
        "# HELP a_seconds A.\n# TYPE a_seconds histogram\n"
        'a_seconds_bucket{le="1"} 0\na_seconds_bucket{le="2"} 1\na_seconds_bucket{le="+Inf"} 1\n'
        'a_seconds_sum 1.5\na_seconds_count 1\n# HELP b_total B.\n# TYPE b_total counter\nb_total{kind="x"} 3\n'
    )
    counter.forget("x")
    assert counter.value("x") == 0


@virtual_time
async def test_a_round_that_took_long_is_followed_by_another_within_a_minute(clock: VirtualClock) -> None:
    """On a busy machine a round takes long, and what fills the disk must be seen nevertheless."""
    rounds: list[float] = []

    class Busy(FileSystems):
        async def look(self) -> Found:
            await asyncio.sleep(20 if len(rounds) == 0 else 0)
            rounds.append(clock.now() - began)
            return Found()

    began = clock.now()
    task = asyncio.create_task(Busy.__new__(Busy).run())
    await asyncio.sleep(95)
    task.cancel()
    await asyncio.wait([task])
    assert rounds == [20, 80, 90]
