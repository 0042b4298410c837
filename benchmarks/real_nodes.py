"""Real nodes: containers, a VPC that is a network. `python -m benchmarks.real_nodes [--pods 100] [--rounds 3]`.

A region of its own with two clusters of real nodes. Needs Linux and root, says what is missing where they are, and is
skipped then. Throughput is a ratio to a plain veth pair, measured in turns with it; times stand beside the processor
time of the region and its machines, since other work on the machine stretches the former.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks._bare_cri import BarePods, containerd_of
from benchmarks._node_memory import memory
from benchmarks._region import CLUSTER, region
from benchmarks._throughput import throughput
from benchmarks.fleet import PODS, Bench, percentiles
from twinplane.cloud.machines.machine import Machine, kept
from twinplane.cloud.machines.requirements import requirements
from twinplane.dataplane.kubelet.pods.launching import STARTS_MAX

IMAGE = "bench.test/busybox:1"
MEASURING_IMAGE = "bench.test/iperf3:1"
BIG = "m5.4xlarge"
SECOND = "bench-second"
STARTS = 20
EXECS = 20
STEPS = ("nodes", "starts", "exec", "throughput", "fill")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120, help="seconds that a step may take")
    parser.add_argument("--steps", default=",".join(STEPS))
    options, _ = parser.parse_known_args()
    missing = requirements(Path(tempfile.gettempdir()))
    if missing:
        print("skipped: " + " ".join(missing))
        return 0
    asyncio.run(run(options))
    return 0


async def run(options: argparse.Namespace) -> None:
    async with region() as made:
        bench = Bench(made, await made.client(), options)
        steps = {"nodes": nodes, "starts": starts, "exec": execs, "throughput": through, "fill": fill}
        await pack(bench)
        with spent(bench, "3 real nodes, the region's first (packs the nodes' own images)"):
            await made.command("create", "nodegroup", "--cluster", CLUSTER, "-n", "three", "-N", "3", *REAL)
        for name in options.steps.split(","):
            await steps[name](bench)


REAL = ("--runtime", "containerd")


class spent:  # noqa: N801  reads as what it is: `with spent(bench, ...)`
    """A row with the wall time of a block, and the processor time of the region and its machines meanwhile."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench, self._name = bench, name

    def __enter__(self) -> None:
        self._began, self._busy = time.monotonic(), own_seconds(self._bench)

    def __exit__(self, *failure: object) -> None:
        wall, busy = time.monotonic() - self._began, own_seconds(self._bench) - self._busy
        self._bench.row(self._name, f"{wall:.1f} s ({busy:.1f} s CPU)")


def own_seconds(bench: Bench) -> float:
    """Processor time of the region's processes, and of everything in its machines."""
    groups = [machine.cgroup for machine in kept(bench.region.home)]
    return sum(bench.region.processor_seconds().values()) + sum(map(_group_seconds, groups))


def _group_seconds(group: str) -> float:
    version_1 = Path("/sys/fs/cgroup/cpuacct", group.lstrip("/"), "cpuacct.usage")
    if version_1.exists():
        return int(version_1.read_text()) / 1e9
    version_2 = Path("/sys/fs/cgroup", group.lstrip("/"), "cpu.stat")
    if not version_2.exists():
        return 0.0
    return int(version_2.read_text().split()[1]) / 1e6


async def pack(bench: Bench) -> None:
    for name, package in ((IMAGE, "busybox"), (MEASURING_IMAGE, "iperf3")):
        await bench.region.command("image", "pack", name, "--apt", package)


async def nodes(bench: Bench) -> None:
    command = ("create", "cluster", "-n", SECOND, "-N", "3", *REAL, "--no-write-kubeconfig")
    with spent(bench, "create cluster to 3 real nodes Ready"):
        await bench.region.command(*command)
    memory(bench, "idle")
    await bench.region.command("delete", "cluster", "-n", SECOND)


def pod(name: str, image: str, command: list[str], **spec: Any) -> bytes:
    container = {"name": "main", "image": image, "command": command, "imagePullPolicy": "IfNotPresent"}
    metadata = {"name": name, "labels": {"app": name.rpartition("-")[0] or name}}
    body = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})


async def running(bench: Bench, label: str, wanted: int) -> tuple[float, int]:
    async def count() -> tuple[int, int]:
        items = (await bench.get(f"{PODS}?labelSelector=app%3D{label}"))["items"]
        return sum((item.get("status") or {}).get("phase") == "Running" for item in items), wanted

    return await bench.until(count, every=0.01 if wanted == 1 else 0.2)


async def starts(bench: Bench) -> None:
    """One after the other on one node, once its image is there; asked every ten milliseconds."""
    node = (await bench.get("/api/v1/nodes"))["items"][0]["metadata"]["name"]
    times = []
    for number in range(STARTS + 1):
        name = f"start{number}"
        content = pod(name, IMAGE, ["sleep", "infinity"], nodeName=node) if not number else None
        content = content or pod(name, IMAGE, ["sleep", "infinity"], nodeSelector={"kubernetes.io/hostname": node})
        began = time.monotonic()
        await bench.client.request("POST", PODS, content, expect=201)
        await running(bench, name, 1)
        times.append(time.monotonic() - began)
        await bench.client.request("DELETE", f"{PODS}/{name}")
    bench.row("pod start (created to Running), p50 / p99", f"{percentiles(times[1:], 1000)} ms")


async def execs(bench: Bench) -> None:
    """The same command of kubectl with and without a container behind it: what is left is ours."""
    await bench.client.request("POST", PODS, pod("exec", IMAGE, ["sleep", "infinity"]), expect=201)
    await running(bench, "exec", 1)
    async with kubeconfig(bench) as path:
        whole, alone = [], []
        for _ in range(EXECS):
            whole.append(await asyncio.to_thread(_kubectl, path, "exec", "exec", "--", "true"))
            alone.append(await asyncio.to_thread(_kubectl, path, "get", "--raw", "/readyz"))
    bench.row("kubectl exec -- true, p50 / p99", f"{percentiles(whole, 1000)} ms")
    bench.row("  kubectl get --raw /readyz beside it", f"{percentiles(alone, 1000)} ms")
    await bench.client.request("DELETE", f"{PODS}/exec")


@asynccontextmanager
async def kubeconfig(bench: Bench) -> AsyncIterator[str]:
    """With the benchmark's token in it, so that kubectl starts no other program to get one."""
    import base64

    from twinplane.cli.cluster import account_of
    from twinplane.cli.region_access import region_access

    described = account_of(region_access(str(bench.region.home))).eks.describe_cluster(name=CLUSTER)["cluster"]
    cluster = {
        "server": described["endpoint"],
        "certificate-authority-data": base64.b64encode(
            base64.b64decode(described["certificateAuthority"]["data"])
        ).decode(),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": bench.region.token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kubeconfig")
        await asyncio.to_thread(path.write_bytes, orjson.dumps(content))
        yield str(path)


def _kubectl(path: str, *words: str) -> float:
    began = time.monotonic()
    subprocess.run(["kubectl", "--kubeconfig", path, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


async def through(bench: Bench) -> None:
    """Pod to pod on two nodes, and through a network load balancer, as parts of a plain veth pair's throughput."""
    if shutil.which("iperf3") is None:
        bench.row("TCP", "skipped: apt-get install iperf3")
        return
    names = [item["metadata"]["name"] for item in (await bench.get("/api/v1/nodes"))["items"][:2]]
    for name, node in zip(("server", "client"), names, strict=True):
        command = ["iperf3", "-s"] if name == "server" else ["sleep", "infinity"]
        content = pod(name, MEASURING_IMAGE, command, nodeSelector={"kubernetes.io/hostname": node})
        await bench.client.request("POST", PODS, content, expect=201)
        await running(bench, name, 1)
    async with kubeconfig(bench) as path:
        found = await throughput(bench, path, "server", "client")
    plain = found.pop("veth")
    bench.row("TCP, plain veth pair, median", f"{statistics.median(plain) / 1e9:.1f} Gbit/s")
    for name, rates in found.items():
        parts = [rate / beside for rate, beside in zip(rates, plain, strict=True)]
        value = f"{statistics.median(rates) / 1e9:.1f} Gbit/s, {100 * statistics.median(parts):.0f}%"
        bench.row(f"TCP, {name}, median", value)
    for name in ("server", "client"):
        await bench.client.request("DELETE", f"{PODS}/{name}")


async def fill(bench: Bench) -> None:
    """Many pods at once on one node that holds them."""
    await bench.region.command("create", "nodegroup", "--cluster", CLUSTER, "-n", "big", "-N", "1", "-t", BIG, *REAL)
    selector = {"node.kubernetes.io/instance-type": BIG}
    await bench.client.request(
        "POST", PODS, pod("warm", IMAGE, ["sleep", "infinity"], nodeSelector=selector), expect=201
    )
    await running(bench, "warm", 1)
    wanted = bench.options.pods
    await bare(bench, wanted)
    with spent(bench, f"{wanted} pods on one node Running"):
        for number in range(wanted):
            content = pod(f"many-{number}", IMAGE, ["sleep", "infinity"], nodeSelector=selector)
            await bench.client.request("POST", PODS, content, expect=201)
        _, reached = await running(bench, "many", wanted)
    if reached < wanted:
        bench.row("  of these were Running by then", str(reached))
    memory(bench, f"{reached} pods")
    await bench.client.request("DELETE", f"{PODS}?labelSelector=app%3Dmany")


async def bare(bench: Bench, count: int) -> None:
    """The same sandboxes and containers on the same node, asked of containerd by nobody but this: what is not ours."""
    machine = next(item for item in kept(bench.region.home) if _instance_type(item) == BIG)
    process = machine.running()
    assert process is not None
    async with containerd_of(process.pid) as runtime:
        pods = BarePods(runtime, IMAGE, STARTS_MAX)
        try:
            with spent(bench, f"bare CRI calls of {count} pods, {STARTS_MAX} at once, without network"):
                await pods.start(count)
        finally:
            await pods.end()


def _instance_type(machine: Machine) -> str:
    return str(orjson.loads((machine.directory / "run" / "machine.json").read_bytes())["instanceType"])


if __name__ == "__main__":
    main()
