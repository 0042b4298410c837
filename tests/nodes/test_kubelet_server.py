"""The kubelet's server in front of a real containerd: commands, terminals, attach, ports, logs, statistics."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from cri_api.v1 import api_pb2 as cri

from tests.nodes.private_containerd import IMAGE, missing, private_containerd
from tests.unit.kubelet_server.world import Pods, Reviews, Volumes, configuration, pod
from twinplane.clock import SystemClock
from twinplane.dataplane.kubelet.logs.rotation import LogRotation, rotated_logs
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.server.namespaces import _made
from twinplane.dataplane.kubelet.server.server import KubeletServer
from twinplane.dataplane.kubelet.server.streams import RuntimeStreams, network_namespace
from twinplane.dataplane.kubelet.stats.cgroup_tree import ROOT, CgroupTree
from twinplane.dataplane.kubelet.stats.statistics import Statistics
from twinplane.dataplane.runtime.contract import Runtime
from twinplane.dataplane.runtime.cri import CriRuntime
from twinplane.dataplane.streaming.contract import ContainerRef
from twinplane.kubeclient.contract import Object

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "can run"),
    pytest.mark.timeout(600),
]

PARENT = f"/twinplane-test-{os.getpid()}"
SCRIPT = "echo hello; while read line; do echo got $line; done; sleep 100"
ADMIN = {"Authorization": "Bearer admin"}


@dataclass
class Started:
    runtime: Runtime
    pods: Pods
    sandbox: str
    container: str
    logs: Path
    session: aiohttp.ClientSession


class OnePod(Pods):
    def __init__(self, body: Object, sandbox: str, container: str) -> None:
        super().__init__(body)
        self._sandbox, self._container = sandbox, container

    def container_id(self, uid: str, container: str) -> str | None:
        return self._container if container == "main" else None

    def sandbox_id(self, uid: str) -> str | None:
        return self._sandbox


@asynccontextmanager
async def started() -> AsyncIterator[Started]:
    async with private_containerd() as path, CriRuntime(path) as runtime:
        logs = path.parent / "logs"
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name="web", uid="uid-web", namespace="default"),
            log_directory=str(logs),
            hostname="web",
            linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"{PARENT}/kubepods/poduid-web"),
        )
        sandbox = await runtime.run_pod_sandbox(config)
        main = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main"),
            image=cri.ImageSpec(image=IMAGE),
            command=["/bin/sh", "-c", SCRIPT],
            log_path="main/0.log",
            stdin=True,
        )
        container = await runtime.create_container(sandbox, main, config)
        await runtime.start_container(container)
        body = pod()
        body["status"]["containerStatuses"][0]["containerID"] = f"containerd://{container}"
        pods = OnePod(body, sandbox, container)
        try:
            async with serving(runtime, pods) as session:
                yield Started(runtime, pods, sandbox, container, logs / "main" / "0.log", session)
        finally:
            await runtime.stop_container(container, 0)
            await runtime.stop_pod_sandbox(sandbox)
            await runtime.remove_pod_sandbox(sandbox)
            _remove_cgroups()


@asynccontextmanager
async def serving(runtime: Runtime, pods: Pods) -> AsyncIterator[aiohttp.ClientSession]:
    metrics, client, clock = KubeletMetrics(), Reviews(), SystemClock()
    client.may |= {("alice", "get", "stats"), ("alice", "get", "metrics")}
    node = configuration()
    node = replace(node, machine=replace(node.machine, cgroup=PARENT))
    statistics = Statistics(
        node,
        pods,
        runtime,
        Volumes().as_contract(),
        client.as_contract(),
        clock=clock,
        metrics=metrics,
        tree=CgroupTree(PARENT),
    )
    await statistics.files.look()
    streams = RuntimeStreams(pods, runtime)
    server = KubeletServer(
        node, pods, runtime, streams, client.as_contract(), clock=clock, metrics=metrics, statistics=statistics
    )
    async with server.listening() as protocol:
        listener = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=ADMIN) as session:
            yield session
        listener.close()


def _remove_cgroups() -> None:
    for directory, _, _ in os.walk(ROOT, topdown=False):
        if PARENT.strip("/") in directory:
            os.rmdir(directory)


async def command(started: Started, query: str, *messages: bytes, kind: str = "exec") -> dict[int, bytes]:
    """What comes on each channel, until the server closes."""
    found: dict[int, bytes] = {}
    path = f"/{kind}/default/web/main?{query}"
    async with started.session.ws_connect(path, protocols=["v5.channel.k8s.io"]) as opened:
        for message in messages:
            await opened.send_bytes(message)
        async for answer in opened:
            found[answer.data[0]] = found.get(answer.data[0], b"") + answer.data[1:]
    return found


async def test_everything() -> None:
    """One containerd for all: starting it takes longer than the rest."""
    async with started() as node:
        await _commands(node)
        await _attach(node)
        await _ports(node)
        await _logs(node)
        await _statistics(node)


async def _commands(node: Started) -> None:
    words = "command=/bin/sh&command=-c&command=echo+out;echo+err+>%262;exit+3"
    found = await command(node, f"output=1&error=1&{words}")
    assert (found[1], found[2]) == (b"out\n", b"err\n")
    assert json.loads(found[3])["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    content = os.urandom(300_000)
    pieces = [b"\0" + content[start : start + 32_000] for start in range(0, len(content), 32_000)]
    found = await command(node, "input=1&output=1&command=/bin/cat", *pieces, b"\xff\0")
    assert found[1] == content
    size = b'\4{"Width":100,"Height":40}'
    found = await command(node, "input=1&output=1&tty=1&command=/bin/sh&command=-c&command=sleep+0.2;stty+size", size)
    assert found[1] == b"40 100\r\n"
    found = await command(node, "output=1&command=/nothing")
    assert "no such file or directory" in json.loads(found[3])["message"]


async def _attach(node: Started) -> None:
    path = "/attach/default/web/main?input=1&output=1&error=1"
    async with node.session.ws_connect(path, protocols=["v5.channel.k8s.io"]) as opened:
        await opened.send_bytes(b"\0one\n")
        text = b""
        async with asyncio.timeout(60):
            async for answer in opened:
                text += answer.data[1:]
                if b"got one\n" in text:
                    break


async def _ports(node: Started) -> None:
    streams = RuntimeStreams(node.pods, node.runtime)
    target = ContainerRef("default", "web", "")
    with pytest.raises(ConnectionRefusedError, match=r"IPv4: dial tcp4 127\.0\.0\.1:8080: connect: connection refused"):
        await streams.port_forward(target, 8080)
    namespace = network_namespace(await node.runtime.pod_sandbox_status(node.sandbox, verbose=True))
    listening = _made(namespace, socket.AF_INET)
    listening.bind(("127.0.0.1", 8080))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"echo " + await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, sock=listening)
    duplex = await streams.port_forward(target, 8080)
    duplex.writer.write(b"x")
    assert await duplex.reader.read() == b"echo x"
    duplex.writer.close()
    server.close()


async def _logs(node: Started) -> None:
    async with node.session.get("/containerLogs/default/web/main") as answer:
        assert (await answer.text()).splitlines()[:2] == ["hello", "got one"]
    rotation = LogRotation(node.runtime, SystemClock(), max_bytes=10, max_files=5)
    async with node.session.get("/containerLogs/default/web/main?follow=true&tailLines=1") as following:
        assert await following.content.readline() == b"got one\n"
        await rotation.rotate()
        assert len(rotated_logs(node.logs)) == 1
        path = "/attach/default/web/main?input=1"
        async with node.session.ws_connect(path, protocols=["v5.channel.k8s.io"]) as opened:
            await opened.send_bytes(b"\0two\n")
            async with asyncio.timeout(60):
                assert await following.content.readline() == b"got two\n"


async def _statistics(node: Started) -> None:
    async with node.session.get("/stats/summary") as answer:
        assert answer.status == 200, await answer.text()
        (told,) = (await answer.json())["pods"]
    (container,) = told["containers"]
    assert container["memory"]["workingSetBytes"] > 0
    assert container["cpu"]["usageCoreNanoSeconds"] > 0
    assert container["rootfs"]["capacityBytes"] > 0
    async with node.session.get("/metrics/cadvisor") as answer:
        text = await answer.text()
    assert f'container="main",id="/kubepods/poduid-web/{node.container}"' in text
    assert 'container_processes{container="main"' in text
    async with node.session.get("/runningpods/") as answer:
        (item,) = (await answer.json())["items"]
    assert item["metadata"]["name"] == "web"
