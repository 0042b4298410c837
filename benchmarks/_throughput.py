"""TCP throughput between pods, and through a load balancer, in turns with a plain veth pair of two namespaces."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from benchmarks._region import CLUSTER
from benchmarks.fleet import PODS, Bench

SECONDS = 3
PORT = 5201
SERVICES = "/api/v1/namespaces/default/services"
NLB = {
    "service.beta.kubernetes.io/aws-load-balancer-type": "external",
    "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
}


async def throughput(bench: Bench, kubeconfig: str, server: str, client: str) -> dict[str, list[float]]:
    """Bits a second of each round, by path. Raises RuntimeError when a load balancer does not come."""
    address = (await bench.get(f"{PODS}/{server}"))["status"]["podIP"]
    name = await _load_balancer(bench, server)
    in_pod = ["kubectl", "--kubeconfig", kubeconfig, "exec", client, "--"]
    found: dict[str, list[float]] = {"veth": [], "pod to pod across nodes": [], "pod through the NLB": []}
    with veth() as plain:
        commands = dict(zip(found, (plain, [*in_pod, *_client(address)], [*in_pod, *_client(name)]), strict=True))
        await _until_it_answers(commands["pod through the NLB"])
        for _ in range(bench.options.rounds):
            for path, command in commands.items():
                found[path].append(await asyncio.to_thread(_rate, command))
    await bench.client.request("DELETE", f"{SERVICES}/{server}")
    return found


def _client(host: str) -> list[str]:
    return ["iperf3", "-c", host, "-p", str(PORT), "-t", str(SECONDS), "-J"]


def _rate(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    answer = orjson.loads(done.stdout or "{}")
    if "end" not in answer or "sum_received" not in answer["end"]:
        raise RuntimeError(answer.get("error") or done.stderr)
    return float(answer["end"]["sum_received"]["bits_per_second"])


async def _until_it_answers(command: list[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            await asyncio.to_thread(_rate, command)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _load_balancer(bench: Bench, app: str) -> str:
    """DNS name of a network load balancer in front of a pod, as AWS Load Balancer Controller makes it."""
    spec = {"type": "LoadBalancer", "selector": {"app": app}, "ports": [{"port": PORT}]}
    metadata = {"name": app, "annotations": NLB}
    body = orjson.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    await bench.client.request("POST", SERVICES, body, expect=201)
    for _ in range(600):
        ingress = (await bench.get(f"{SERVICES}/{app}"))["status"].get("loadBalancer", {}).get("ingress")
        if ingress:
            return str(ingress[0]["hostname"])
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the load balancer of service {app} of cluster {CLUSTER} did not come")


@contextmanager
def veth() -> Iterator[list[str]]:
    """A client's command line in one namespace, to a server in another, with nothing but a veth pair of the nodes' MTU
    between them. The host needs iperf3."""
    iperf3 = shutil.which("iperf3") or "iperf3"
    near, far = (f"tp-bench-{os.getpid()}-{side}" for side in "ab")
    server = None
    try:
        for line in (
            f"netns add {near}",
            f"netns add {far}",
            f"-n {near} link add veth0 mtu 9001 type veth peer name veth0 mtu 9001 netns {far}",
            f"-n {near} addr add 198.18.0.1/30 dev veth0",
            f"-n {far} addr add 198.18.0.2/30 dev veth0",
            f"-n {near} link set veth0 up",
            f"-n {far} link set veth0 up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        enter = ["ip", "netns", "exec"]
        server = subprocess.Popen([*enter, far, iperf3, "-s"], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        yield [*enter, near, iperf3, *_client("198.18.0.2")[1:]]
    finally:
        if server is not None:
            server.terminate()
            server.wait(5)
        for namespace in (near, far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, stderr=subprocess.DEVNULL)
