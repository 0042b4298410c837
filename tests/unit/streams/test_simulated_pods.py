"""Streams of simulated pods, through a cluster in this process: the API server, its admission, and a kubelet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.unit.streams.test_api_server import received
from twinplane.dataplane.simulation.runtime import STRATEGIC
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import NODES, PODS
from twinplane.testing.in_process import Cluster, cluster

PATH = "/api/v1/namespaces/default/pods/web"


def web() -> Object:
    field = {"fieldRef": {"fieldPath": "metadata.labels['app']"}}
    environment: list[Object] = [
        {"name": "COLOR", "value": "blue"},
        {"name": "APP", "valueFrom": field},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "BOTH", "value": "$(APP)-$(COLOR)-$$(COLOR)"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    container = {"name": "main", "image": "nginx", "ports": [{"containerPort": 80}], "env": environment}
    return {"metadata": {"name": "web", "labels": {"app": "shop"}}, "spec": {"containers": [container]}}


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Cluster, aiohttp.ClientSession]]:
    async with cluster(nodes=1) as made:
        await made.client().create(PODS, web(), "default")
        await made.settle()
        context = ssl.create_default_context(cadata=made.certificate_authority)
        connector = aiohttp.TCPConnector(ssl=context)
        headers = {"Authorization": f"Bearer {made.token}"}
        async with aiohttp.ClientSession(made.url, connector=connector, headers=headers) as session:
            yield made, session


async def executed(session: aiohttp.ClientSession, *command: str) -> dict[int, bytes]:
    query: list[tuple[str, Any]] = [("stdout", "1"), ("stderr", "1"), *(("command", word) for word in command)]
    async with session.ws_connect(f"{PATH}/exec", params=query, protocols=("v5.channel.k8s.io",)) as socket:
        return await received(socket)


async def test_exec_and_its_environment() -> None:
    async with running() as (made, session):
        found = await executed(session, "env")
        pod = await made.client().get(PODS, "web", "default")
        lines = found[1].decode().splitlines()
        assert lines[1:] == [
            "HOSTNAME=web",
            "COLOR=blue",
            "APP=shop",
            f"NODE={pod['spec']['nodeName']}",
            "BOTH=shop-blue-$(COLOR)",
            "HOME=/root",
        ]
        assert b"not found in $PATH" in (await executed(session, "bash"))[2]


async def test_proxy_attach_and_port_forward() -> None:
    async with running() as (_, session):
        query = {"stdout": "1"}
        async with session.ws_connect(f"{PATH}/attach", params=query, protocols=("v5.channel.k8s.io",)) as socket:
            assert await socket.receive_bytes() == b"\1"
            async with session.get(f"{PATH}:80/proxy/knock?a=b") as answer:
                found = await answer.json()
            assert (found["pod"], found["path"]) == ("web", "/knock?a=b")
            assert b"GET /knock?a=b" in await socket.receive_bytes()
        async with session.get(f"{PATH}:81/proxy/") as answer:
            assert answer.status == 503
            assert "connection refused" in (await answer.json())["message"]
        query = {"ports": "80"}
        async with session.ws_connect(f"{PATH}/portforward", params=query, protocols=("v4.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\0GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b'"pod":"web"' in (await received(socket))[0]


async def test_containers_that_do_not_run() -> None:
    async with running() as (made, session):
        body = {**web(), "metadata": {"name": "waiting"}}
        body["metadata"]["annotations"] = {"simulation.twinplane.io/image-pull-error": "true"}
        await made.client().create(PODS, body, "default")
        for _ in range(6000):
            waiting = await made.client().get(PODS, "waiting", "default")
            if waiting["status"].get("containerStatuses"):
                break
            await asyncio.sleep(0.02)
        path = PATH.replace("web", "waiting") + "/exec?stdout=1&command=env"
        async with session.ws_connect(path, protocols=("v5.channel.k8s.io",)) as socket:
            assert b'container not found (\\"main\\")' in (await received(socket))[3]
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(path, protocols=("v4.channel.k8s.io",))


async def test_exec_in_an_ephemeral_container() -> None:
    async with running() as (made, session):
        debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
        await made.client().patch(
            PODS, "web", debug, "default", subresource="ephemeralcontainers", patch_type=STRATEGIC
        )
        await made.settle()
        query = {"stdout": "1", "container": "debug", "command": "hostname"}
        async with session.ws_connect(f"{PATH}/exec", params=query, protocols=("v5.channel.k8s.io",)) as socket:
            assert (await received(socket))[1] == b"web\n"


async def test_a_node_shows_its_own_pods() -> None:
    async with cluster(nodes=2) as made:
        names = [node["metadata"]["name"] for node in (await made.client().list(NODES)).items]
        for name in names:
            body = web()
            body["metadata"]["name"] = f"on-{name.partition('.')[0]}"
            await made.client().create(PODS, {**body, "spec": {**body["spec"], "nodeName": name}}, "default")
        await made.settle()
        context = ssl.create_default_context(cadata=made.certificate_authority)
        headers = {"Authorization": f"Bearer {made.token}"}
        async with aiohttp.ClientSession(
            made.url, connector=aiohttp.TCPConnector(ssl=context), headers=headers
        ) as session:
            for name in names:
                async with session.get(f"/api/v1/nodes/{name}/proxy/pods") as answer:
                    pods = [item["metadata"]["name"] for item in (await answer.json())["items"]]
                own = f"on-{name.partition('.')[0]}"
                assert own in pods
                assert not [pod for pod in pods if pod.startswith("on-") and pod != own]
