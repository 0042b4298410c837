"""A fleet of simulated nodes full of pods, through every layer: `python -m benchmarks.fleet --nodes 500 --pods 5000`.

A region of its own, one cluster (API server with TLS and the durable store, controllers, scheduler in one process) and
the simulation process. Each row is printed as soon as it is known; every step is bounded by `--limit`, and says what
was reached when it ran out. Figures depend on what else the machine does: the load is printed with them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop

from benchmarks._load import Client
from benchmarks._region import CLUSTER, Region, region

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
ENDPOINT_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
REPLICAS_MAX = 1000
PODS_PER_NODE = 110
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")
STARTS_PER_SECOND = 100
START_SECONDS = 15
STARTERS = 16
IDLE_SECONDS = 30.0
STEPS = ("nodes", "fill", "starts", "update", "idle", "delete", "zone")
"""The last takes minutes of waiting: only when it is asked for."""


@dataclass
class Bench:
    region: Region
    client: Client
    options: argparse.Namespace
    rows: list[tuple[str, str]] = field(default_factory=list)

    def row(self, name: str, value: str) -> None:
        self.rows.append((name, value))
        print(f"{name:<42}{value:>34}   load {os.getloadavg()[0]:.1f}", flush=True)

    async def get(self, path: str) -> Any:
        return orjson.loads(await self.client.request("GET", path))

    async def until(self, done: Callable[[], Awaitable[tuple[int, int]]], *, every: float = 1.0) -> tuple[float, int]:
        """(seconds, how many) until as many as wanted, or until the limit."""
        began = time.monotonic()
        while True:
            reached, wanted = await done()
            spent = time.monotonic() - began
            if reached >= wanted or spent > self.options.limit:
                return spent, reached
            await asyncio.sleep(every)


def deployment(name: str, replicas: int, image: str = "public.ecr.aws/nginx/nginx:1.29") -> bytes:
    labels = {"app": name}
    container = {
        "name": "web",
        "image": image,
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return orjson.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def service(name: str) -> bytes:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return orjson.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


def fleet(nodes: int) -> dict[str, Any]:
    group = {
        "name": "general",
        "count": nodes,
        "instanceType": "m5.4xlarge",
        "zones": list(ZONES),
        "podsPerNode": PODS_PER_NODE,
    }
    spec = {"cidr": "100.64.0.0/10", "groups": [group]}
    return {
        "apiVersion": "simulation.twinplane.io/v1alpha1",
        "kind": "Fleet",
        "metadata": {"name": "big"},
        "spec": spec,
    }


async def make_nodes(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.json"
        path.write_bytes(orjson.dumps(fleet(bench.options.nodes)))
        began = time.monotonic()
        await bench.region.command("fleet", "apply", "--cluster", CLUSTER, "-f", str(path), "--wait")
    seconds = time.monotonic() - began
    bench.row(f"{bench.options.nodes:,} nodes Ready", f"{seconds:.0f} s ({bench.options.nodes / seconds:,.0f}/s)")


async def fill(bench: Bench) -> None:
    pods = bench.options.pods
    sizes = [REPLICAS_MAX] * (pods // REPLICAS_MAX) + ([pods % REPLICAS_MAX] if pods % REPLICAS_MAX else [])
    before = bench.region.processor_seconds()
    async with probing(bench) as latencies:
        for number, size in enumerate(sizes):
            await bench.client.request("POST", SERVICES, service(f"web-{number}"), expect=201)
            await bench.client.request("POST", DEPLOYMENTS, deployment(f"web-{number}", size), expect=201)
        seconds, ready = await bench.until(lambda: ready_replicas(bench, pods))
        more, served = await bench.until(lambda: ready_endpoints(bench, ready))
    bench.row(f"{pods:,} pods Running", f"{ready:,} in {seconds:.0f} s ({ready / seconds:,.0f}/s)")
    bench.row("  and in their Services' EndpointSlices", f"{served:,} after {more:.0f} s more")
    if ready < pods:
        # ReplicaSets count their pods late while they are busy creating: what there is says more.
        bench.row("  of these there are by then", f"{await count(bench):,}")
    report_processor_time(bench, before)
    report_latencies(bench, latencies)
    held = bench.region.memory()
    parts = ", ".join(f"{name.split('.')[-1]} {value / 1e6:,.0f}" for name, value in held.items())
    bench.row("  memory, MB", parts)
    bench.row("  memory at its peak, all processes", f"{bench.region.peak / 1e9:.2f} GB")


async def ready_replicas(bench: Bench, wanted: int) -> tuple[int, int]:
    items = (await bench.get(DEPLOYMENTS))["items"]
    return sum(item["status"].get("readyReplicas", 0) for item in items), wanted


async def ready_endpoints(bench: Bench, wanted: int) -> tuple[int, int]:
    items = (await bench.get(f"{ENDPOINT_SLICES}?labelSelector=kubernetes.io%2Fservice-name%21%3Dkubernetes"))["items"]
    return sum(1 for item in items for each in item.get("endpoints") or () if each["conditions"]["ready"]), wanted


@asynccontextmanager
async def probing(bench: Bench) -> AsyncIterator[dict[str, list[float]]]:
    """Single-object calls ten times a second beside what is measured."""
    client = await bench.region.client()
    found: dict[str, list[float]] = {"GET": [], "PATCH": []}
    body = orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {}})
    await client.request("POST", CONFIG_MAPS, body, expect=201)

    async def probe() -> None:
        number = 0
        while True:
            number += 1
            patch = orjson.dumps({"data": {"number": str(number)}})
            for method, content in (("GET", b""), ("PATCH", patch)):
                began = time.monotonic()
                await client.request(method, f"{CONFIG_MAPS}/probe", content, content_type=MERGE)
                found[method].append(time.monotonic() - began)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(probe())
    try:
        yield found
    finally:
        task.cancel()
        client.close()
        await bench.client.request("DELETE", f"{CONFIG_MAPS}/probe")


def report_processor_time(bench: Bench, before: dict[str, float]) -> None:
    used = {name: value - before.get(name, 0) for name, value in bench.region.processor_seconds().items()}
    bench.row("  processor time", ", ".join(f"{name.split('.')[-1]} {value:.1f} s" for name, value in used.items()))


def report_latencies(bench: Bench, latencies: dict[str, list[float]]) -> None:
    for method, times in latencies.items():
        bench.row(f"  {method} of one object meanwhile, p50 / p99", f"{percentiles(times, 1000)} ms")


def percentiles(times: list[float], factor: float) -> str:
    ordered = sorted(times) or [float("nan")]
    return f"{ordered[len(ordered) // 2] * factor:,.0f} / {ordered[int(len(ordered) * 0.99)] * factor:,.0f}"


async def starts(bench: Bench) -> None:
    """From the moment a pod is created until a watch shows it Running, at a steady rate."""
    created: dict[str, float] = {}
    took: dict[str, float] = {}
    watcher = asyncio.create_task(follow(bench, created, took))
    await asyncio.sleep(0.3)
    template = orjson.loads(deployment("one", 1))["spec"]["template"]
    total = STARTS_PER_SECOND * START_SECONDS
    began = time.monotonic()

    async def create(first: int) -> None:
        """Its share of the pods, each at its time, so that a slow answer holds up few others."""
        client = await bench.region.client()
        for number in range(first, total, STARTERS):
            await asyncio.sleep(max(0.0, began + number / STARTS_PER_SECOND - time.monotonic()))
            name = f"started-{number}"
            metadata = {"name": name, "labels": {"app": "started"}}
            content = orjson.dumps({**template, "apiVersion": "v1", "kind": "Pod", "metadata": metadata})
            created[name] = time.monotonic()
            await client.request("POST", PODS, content, expect=201)
        client.close()

    await asyncio.gather(*map(create, range(STARTERS)))
    rate = total / (time.monotonic() - began)
    for _ in range(200):
        await asyncio.sleep(0.1 if len(took) < total else 0)
    watcher.cancel()
    value = f"{percentiles(list(took.values()), 1000)} ms ({len(took):,} at {rate:.0f}/s)"
    bench.row("pod start (created to Running), p50 / p99", value)
    await bench.client.request("DELETE", f"{PODS}?labelSelector=app%3Dstarted")


async def follow(bench: Bench, created: dict[str, float], took: dict[str, float]) -> None:
    import aiohttp

    url = f"https://127.0.0.1:{bench.region.port}{PODS}?watch=1&labelSelector=app%3Dstarted"
    headers = {"Authorization": f"Bearer {bench.region.token}"}
    connector = aiohttp.TCPConnector(ssl=bench.region.context)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=1 << 22) as session,
        session.get(url) as answer,
    ):
        async for line in answer.content:
            body = orjson.loads(line)["object"]
            name = body["metadata"]["name"]
            if name in created and name not in took and (body.get("status") or {}).get("phase") == "Running":
                took[name] = time.monotonic() - created[name]


async def update(bench: Bench) -> None:
    chosen = max(1, bench.options.update // REPLICAS_MAX)
    names = [f"web-{number}" for number in range(min(chosen, bench.options.pods // REPLICAS_MAX or 1))]
    image = {
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "public.ecr.aws/nginx/nginx:1.30"}]}}}
    }
    strategic = "application/strategic-merge-patch+json"
    for name in names:
        await bench.client.request("PATCH", f"{DEPLOYMENTS}/{name}", orjson.dumps(image), content_type=strategic)

    async def updated() -> tuple[int, int]:
        items = [await bench.get(f"{DEPLOYMENTS}/{name}") for name in names]
        done = [
            min(item["status"].get("updatedReplicas", 0), item["status"].get("readyReplicas", 0))
            if item["status"].get("replicas") == item["spec"]["replicas"]
            else item["spec"]["replicas"] - 1
            for item in items
            if item["status"].get("observedGeneration") == item["metadata"]["generation"]
        ]
        return sum(done), sum(item["spec"]["replicas"] for item in items)

    seconds, reached = await bench.until(updated, every=0.5)
    bench.row(f"rolling update of {len(names)} Deployments", f"{reached:,} replicas in {seconds:.0f} s")


async def idle(bench: Bench) -> None:
    await asyncio.sleep(10)
    before = bench.region.processor_seconds()
    await asyncio.sleep(IDLE_SECONDS)
    used = {name: value - before[name] for name, value in bench.region.processor_seconds().items() if name in before}
    parts = ", ".join(f"{name.split('.')[-1]} {value / IDLE_SECONDS:.1%}" for name, value in used.items())
    bench.row("idle, of a core", f"{sum(used.values()) / IDLE_SECONDS:.1%} ({parts})")


async def zone(bench: Bench) -> None:
    """How long until every node of a zone is known to be lost, and until it is back."""
    lost = ZONES[0]
    wanted = len([number for number in range(bench.options.nodes) if ZONES[number % len(ZONES)] == lost])
    path = f"/api/v1/nodes?labelSelector=topology.kubernetes.io%2Fzone%3D{lost}"
    lasts = 30 + 2 * max(50, bench.options.nodes // 25)
    await bench.region.command(
        "fleet", "inject", "--cluster", CLUSTER, "big", "zoneLoss", "--zone", lost, "--for", f"{lasts}s"
    )
    began = time.monotonic()

    async def unknown() -> tuple[int, int]:
        return len(await states(bench, path)) - (await states(bench, path)).count("True"), wanted

    seconds, reached = await bench.until(unknown, every=2)
    bench.row(f"zone of {wanted:,} nodes lost, all NotReady", f"{reached:,} in {seconds:.0f} s")
    await asyncio.sleep(max(0.0, began + lasts - time.monotonic()))

    async def ready() -> tuple[int, int]:
        return (await states(bench, path)).count("True"), wanted

    seconds, reached = await bench.until(ready, every=1)
    bench.row("  and back, all Ready", f"{reached:,} in {seconds:.0f} s")


async def states(bench: Bench, path: str) -> list[str]:
    items = (await bench.get(path))["items"]
    return [
        str(entry["status"]) for item in items for entry in item["status"]["conditions"] if entry["type"] == "Ready"
    ]


async def delete(bench: Bench) -> None:
    names = [item["metadata"]["name"] for item in (await bench.get(DEPLOYMENTS))["items"]]
    total = await count(bench)
    before = bench.region.processor_seconds()
    async with probing(bench) as latencies:
        for name in names:
            await bench.client.request("DELETE", f"{DEPLOYMENTS}/{name}")

        async def gone() -> tuple[int, int]:
            return total - await count(bench), total

        seconds, reached = await bench.until(gone)
    bench.row(f"deletion of {total:,} pods", f"{reached:,} in {seconds:.0f} s ({reached / seconds:,.0f}/s)")
    report_processor_time(bench, before)
    report_latencies(bench, latencies)


async def count(bench: Bench) -> int:
    answer = await bench.get(f"{PODS}?limit=1")
    return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount", 0))


RUN: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "nodes": make_nodes,
    "fill": fill,
    "starts": starts,
    "update": update,
    "idle": idle,
    "zone": zone,
    "delete": delete,
}


async def run(options: argparse.Namespace) -> None:
    async with region() as made:
        bench = Bench(made, await made.client(), options)
        for name in options.steps.split(","):
            await RUN[name](bench)
        bench.client.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--pods", type=int, default=5_000)
    parser.add_argument("--update", type=int, default=1_000, help="replicas of the rolling update")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a step may take")
    parser.add_argument("--steps", default=",".join(STEPS[:-1]), help=f"of {', '.join(STEPS)}")
    options, _ = parser.parse_known_args(arguments)
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
