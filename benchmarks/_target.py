"""A server under measurement: where it listens, whose processes it is made of, and how it comes to hold many pods."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks._load import Client, connect

MASTERS_TOKEN = "benchmark"
PODS_OF_NODES = 10_000
"""Filled pods are spread over so many nodes."""
POD_BYTES = 2048
MERGE = "application/merge-patch+json"
FILLED = "/api/v1/namespaces/filled/pods"
PODS = "/api/v1/namespaces/default/pods"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Target:
    name: str
    port: int
    context: ssl.SSLContext
    pids: tuple[int, ...]
    fill: Callable[[Path, int, int], Awaitable[None]] | None = None
    """Straight into the store: a template's file, the first number, one past the last. None: through the API."""
    token: str = MASTERS_TOKEN

    async def clients(self, count: int) -> list[Client]:
        return [await connect(self.port, self.context, self.token) for _ in range(count)]

    def processor_seconds(self) -> float:
        """User and system, of all its processes and their threads."""
        spent = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
        return spent / _TICKS

    def resident_bytes(self) -> int:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids) * 4096


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "pod-template-hash": "5d9c7"}, **metadata},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "public.ecr.aws/nginx/nginx:1.29",
                    "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                }
            ]
        },
    }


def status_patch(number: int) -> bytes:
    return orjson.dumps({"status": {"phase": "Running", "message": f"seen {number}"}})


async def prepare(target: Target) -> None:
    """Two namespaces with their accounts, and a service account's token, bound by RBAC, for everything that follows."""
    client = (await target.clients(1))[0]

    async def create(path: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
        body = {"metadata": {"name": name}, "apiVersion": path.split("/")[2], "kind": kind, **rest}
        if path.startswith("/apis/"):
            body["apiVersion"] = "/".join(path.split("/")[2:4])
        found: dict[str, Any] = orjson.loads(await client.request("POST", path, orjson.dumps(body), expect=201))
        return found

    await create("/api/v1/namespaces", "Namespace", "filled")
    for namespace, name in (("default", "default"), ("filled", "default"), ("default", "load")):
        await create(f"/api/v1/namespaces/{namespace}/serviceaccounts", "ServiceAccount", name)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "namespace": "default", "name": "load"}
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    await create(bindings, "ClusterRoleBinding", "load", roleRef=role, subjects=[subject])
    path = "/api/v1/namespaces/default/serviceaccounts/load/token"
    answer = await client.request("POST", path, b'{"spec":{"expirationSeconds":7200}}', expect=201)
    target.token = orjson.loads(answer)["status"]["token"]
    client.close()
    await asyncio.sleep(0.5)


async def template(client: Client, directory: Path) -> Path:
    """A file with a pod as the server stores it, 2 KB in all, with places for what differs between copies."""
    made = pod("template", labels={"app": "web", "hundred": "h-1"}, annotations={"fill": ""})
    # With a probe and the account's token it would be 2.7 KB.
    made["spec"] |= {"nodeName": "node-1", "automountServiceAccountToken": False}
    del made["spec"]["containers"][0]["readinessProbe"]
    stored = orjson.loads(await client.request("POST", PODS, orjson.dumps(made), expect=201))
    await client.request("DELETE", f"{PODS}/template?gracePeriodSeconds=0")
    stored["spec"]["nodeName"] = "node-@node"
    stored["metadata"] |= {"name": "pod-@number", "namespace": "filled", "uid": "00000000-0000-4000-8000-@number"}
    stored["metadata"]["labels"]["hundred"] = "h-@hundred"
    missing = POD_BYTES - len(orjson.dumps(stored))
    stored["metadata"]["annotations"]["fill"] = "x" * max(0, missing)
    path = directory / "template.json"
    path.write_bytes(orjson.dumps(stored))
    return path


async def fill(target: Target, clients: list[Client], file: Path, begin: int, end: int) -> None:
    """Numbers begin..end-1 of the template's copies."""
    if target.fill is not None:
        await target.fill(file, begin, end)
        return
    body = orjson.loads(await asyncio.to_thread(file.read_bytes))
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        body["metadata"].pop(field, None)
    value, numbers = orjson.dumps(body), iter(range(begin, end))

    async def loop(client: Client) -> None:
        for number in numbers:
            copy = value.replace(b"@number", b"%d" % number).replace(b"@hundred", b"%d" % (number // 100))
            copy = copy.replace(b"@node", b"%d" % (number % PODS_OF_NODES))
            await client.request("POST", FILLED, copy, expect=201)

    await asyncio.gather(*map(loop, clients))
