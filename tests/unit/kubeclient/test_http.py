"""The HTTP client against a small server that speaks the API's HTTP for a `MemoryCluster`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.resources import CONFIG_MAPS, NODES, PODS
from twinplane.testing.memory_cluster import MemoryCluster


class Face:
    """One resource, config maps, over HTTP; `requests` keeps what came."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.requests: list[tuple[str, str, dict[str, str], Object | None]] = []
        self.authorizations: set[str] = set()
        self.raw: web.Response | None = None
        self.refusals: list[ApiError] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        data = await request.read()
        body = json.loads(data) if data else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.authorizations.add(request.headers.get("Authorization", ""))
        if self.raw is not None:
            return self.raw
        try:
            if self.refusals:
                raise self.refusals.pop()
            if request.query.get("watch"):
                return await self._watch(request)
            return web.json_response(await self._answer(request, body))
        except ApiError as error:
            return web.json_response(error.status(), status=error.code)

    async def _answer(self, request: web.BaseRequest, body: Object | None) -> Object:
        parts = request.path.strip("/").split("/")
        name = parts[5] if len(parts) > 5 else ""
        match request.method:
            case "GET" if name:
                return await self.cluster.get(CONFIG_MAPS, name, "default")
            case "GET":
                found = await self.cluster.list(CONFIG_MAPS, limit=int(request.query.get("limit", "0")))
                return {
                    "items": found.items,
                    "metadata": {"resourceVersion": found.resource_version, "continue": found.continue_},
                }
            case "POST":
                return await self.cluster.create(CONFIG_MAPS, body or {}, "default")
            case "PUT":
                return await self.cluster.update(CONFIG_MAPS, body or {})
            case "PATCH":
                return await self.cluster.patch(CONFIG_MAPS, name, body, "default")
            case _ if not name:
                await self.cluster.delete_collection(CONFIG_MAPS, "default")
                return {"status": "Success"}
            case _:
                return await self.cluster.delete(CONFIG_MAPS, name, "default")

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        version = request.query.get("resourceVersion", "")
        async for event in self.cluster.watch(CONFIG_MAPS, resource_version=version):
            line = json.dumps({"type": event.type, "object": event.object}).encode() + b"\n"
            # In two pieces: lines do not arrive as they were sent.
            await response.write(line[:40])
            await response.write(line[40:])
            if event.object["metadata"]["name"] == "last":
                error = ApiError("Expired", "too old resource version: 1 (2)").status()
                await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
                break
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Face, HttpClient]]:
    face = Face()
    runner = web.ServerRunner(web.Server(face.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    async def token() -> str:
        return "secret"

    try:
        async with HttpClient(f"http://127.0.0.1:{port}", token_source=token) as client:
            yield face, client
    finally:
        await runner.cleanup()


async def test_verbs() -> None:
    async with serving() as (face, client):
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"] == made["metadata"]
        updated = await client.update(CONFIG_MAPS, {**made, "data": {"k": "v"}})
        assert updated["data"] == {"k": "v"}
        patched = await client.patch(CONFIG_MAPS, "a", {"data": {"k": None}}, "default", field_manager="me")
        assert patched["data"] == {}
        listed = await client.list(CONFIG_MAPS, label_selector="a in (b,c)", limit=5)
        assert [item["metadata"]["name"] for item in listed.items] == ["a"]
        await client.delete(CONFIG_MAPS, "a", "default", propagation_policy="Orphan", grace_period_seconds=0, uid="u")
        await client.delete_collection(CONFIG_MAPS, "default", field_selector="metadata.name=x")
        assert face.authorizations == {"Bearer secret"}
        paths = [(method, path) for method, path, _, _ in face.requests]
        base = "/api/v1/namespaces/default/configmaps"
        assert paths == [
            ("POST", base),
            ("GET", f"{base}/a"),
            ("PUT", f"{base}/a"),
            ("PATCH", f"{base}/a"),
            ("GET", "/api/v1/configmaps"),
            ("DELETE", f"{base}/a"),
            ("DELETE", base),
        ]
        assert face.requests[0][3] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        assert face.requests[3][2] == {"fieldManager": "me"}
        assert face.requests[4][2] == {"labelSelector": "a in (b,c)", "limit": "5"}
        assert face.requests[5][3] == {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Orphan",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"},
        }


async def test_errors_are_api_errors() -> None:
    async with serving() as (face, client):
        with pytest.raises(ApiError) as caught:
            await client.get(CONFIG_MAPS, "nobody", "default")
        assert (caught.value.code, caught.value.message) == (404, 'configmaps "nobody" not found')
        face.raw = web.Response(status=502, text="Bad Gateway")
        with pytest.raises(ApiError) as caught:
            await client.get(NODES, "n")
        assert (caught.value.code, caught.value.message) == (502, "Bad Gateway")
        face.raw = web.Response(status=200, text="<html>")
        with pytest.raises(ConnectionError):
            await client.get(NODES, "n")


async def test_no_server_is_a_connection_error() -> None:
    async with HttpClient("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectionError):
            await client.list(PODS)


async def test_watch_lines_and_errors() -> None:
    async with serving() as (face, client):
        face.cluster.seed(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"long": "x" * 300_000}})
        seen: list[str] = []

        async def watch() -> None:
            async for kind, body in client.watch(CONFIG_MAPS, "default"):
                note = f"{kind} {body['metadata']['name']}"
                seen.append(note)

        task = asyncio.create_task(watch())
        while not seen:
            await asyncio.sleep(0.01)
        await face.cluster.create(CONFIG_MAPS, {"metadata": {"name": "last"}}, "default")
        with pytest.raises(ApiError) as caught:
            await task
        assert caught.value.code == 410
        assert seen == ["ADDED a", "ADDED last"]
        assert face.requests[0][2] == {"watch": "true", "allowWatchBookmarks": "true"}


async def test_use_outside_of_its_block_is_a_mistake() -> None:
    with pytest.raises(RuntimeError):
        await HttpClient("http://127.0.0.1:1").get(NODES, "n")


async def test_a_full_server_is_asked_again_when_it_says_so() -> None:
    async with serving() as (face, client):
        await face.cluster.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        full = ApiError("TooManyRequests", "too many requests, please try again later.", retry_after=0)
        face.refusals = [full, full]
        assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"]["name"] == "a"
        assert len(face.requests) == 3
        face.refusals = [
            ApiError("TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        ]
        with pytest.raises(ApiError, match="disruption budget"):
            await client.get(CONFIG_MAPS, "a", "default")
