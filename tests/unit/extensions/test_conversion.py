"""Conversion webhooks: a definition with two versions whose specs differ, converted over real TLS."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from tests.unit.api.harness import Api
from tests.unit.extensions.harness import define, definition, extended, https_server, object_of, of, tls_files
from twinplane.kubeclient.contract import Object

OLD, NEW = (f"/apis/example.com/{version}/namespaces/default/hosts" for version in ("v1", "v2"))
Change = Callable[[Object, str], Object]


DEFINITIONS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"content-type": "application/merge-patch+json"}


def host_definition(ca: Path, path: str = "/convert") -> Object:
    """v1 (stored) has `hostPort: name:port`, v2 has `host` and `port`."""
    body = definition("hosts", "Host", of({"type": "object", "properties": {"hostPort": {"type": "string"}}}))
    second = {"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "string"}}}
    body["spec"]["versions"].append(
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": of(second)}}
    )
    service = {"namespace": "default", "name": "webhook", "path": path}
    bundle = base64.b64encode(ca.read_bytes()).decode()
    body["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"service": service, "caBundle": bundle},
        },
    }
    return body


def split_or_join(body: Object, target: str) -> Object:
    spec = body.get("spec") or {}
    if target.endswith("/v2"):
        host, _, port = spec.get("hostPort", "").partition(":")
        changed = {"host": host, "port": port}
    else:
        changed = {"hostPort": f"{spec.get('host', '')}:{spec.get('port', '')}"}
    return {**body, "apiVersion": target, "spec": changed}


class Webhook:
    def __init__(self, change: Change = split_or_join) -> None:
        self.change = change
        self.reviews: list[Object] = []
        self.paths: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        review = orjson.loads(await request.read())
        asked = review["request"]
        self.reviews.append(review)
        self.paths.append(request.path)
        converted = [self.change(body, asked["desiredAPIVersion"]) for body in asked["objects"]]
        response = {"uid": asked["uid"], "convertedObjects": converted, "result": {"status": "Success"}}
        return web.json_response({**review, "request": None, "response": response})


@asynccontextmanager
async def converting(
    directory: Path, webhook: Any, defined: Callable[[Path], Object] = host_definition
) -> AsyncIterator[Api]:
    files = tls_files(directory, "webhook.default.svc")
    async with https_server(webhook, files) as port:
        asked: list[tuple[str, str, int]] = []

        def resolve(namespace: str, name: str, wanted: int) -> tuple[str, int]:
            asked.append((namespace, name, wanted))
            return "127.0.0.1", port

        async with extended(resolve=resolve) as api:
            await define(api, defined(files[0]))
            yield api
        assert set(asked) <= {("default", "webhook", 443)}


def host(name: str, version: str, **spec: str) -> Object:
    return object_of("Host", name, spec, version=version)


async def test_writes_and_reads_in_both_versions(tmp_path: Path) -> None:
    webhook = Webhook()
    async with converting(tmp_path, webhook) as api:
        made = await api.json("POST", NEW, host("a", "v2", host="one", port="80"), expect=201)
        assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"host": "one", "port": "80"})
        stored = await api.json("GET", f"{OLD}/a")
        assert (stored["apiVersion"], stored["spec"]) == ("example.com/v1", {"hostPort": "one:80"})
        patch = {"spec": {"port": "81"}}
        headers = {"content-type": "application/merge-patch+json"}
        patched = await api.json("PATCH", f"{NEW}/a", patch, headers=headers)
        assert patched["spec"] == {"host": "one", "port": "81"}
        assert (await api.json("GET", f"{OLD}/a"))["spec"] == {"hostPort": "one:81"}
        patched["spec"]["host"] = "two"
        assert (await api.json("PUT", f"{NEW}/a", patched))["spec"]["host"] == "two"
        assert webhook.paths[0] == "/convert"
        assert webhook.reviews[0]["apiVersion"] == "apiextensions.k8s.io/v1"


async def test_a_list_is_converted_at_once_and_remembered(tmp_path: Path) -> None:
    webhook = Webhook()
    async with converting(tmp_path, webhook) as api:
        for index in range(5):
            await api.json("POST", OLD, host(f"a{index}", "v1", hostPort=f"h:{index}"), expect=201)
        assert webhook.reviews == []
        listed = await api.json("GET", NEW)
        assert [item["spec"]["port"] for item in listed["items"]] == ["0", "1", "2", "3", "4"]
        await api.json("GET", NEW)
        await api.json("GET", f"{NEW}/a3")
        assert [len(review["request"]["objects"]) for review in webhook.reviews] == [5]


async def test_server_side_apply_in_the_other_version(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook()) as api:
        headers = {"content-type": "application/apply-patch+yaml"}
        for port, code in (("80", 201), ("81", 200)):
            body = host("a", "v2", host="one", port=port)
            found = await api.json("PATCH", f"{NEW}/a?fieldManager=me", body, headers=headers, expect=code)
            assert found["spec"] == {"host": "one", "port": port}


async def test_a_watch_in_the_other_version(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook()) as api:
        await api.json("POST", OLD, host("a", "v1", hostPort="h:1"), expect=201)
        stream = (await api.send("GET", f"{NEW}?watch=true")).stream
        assert stream is not None
        first = orjson.loads(await anext(aiter(stream)))
        await api.json("POST", OLD, host("b", "v1", hostPort="h:2"), expect=201)
        second = orjson.loads(await anext(aiter(stream)))
        assert [(event["type"], event["object"]["spec"]["port"]) for event in (first, second)] == [
            ("ADDED", "1"),
            ("ADDED", "2"),
        ]
        await stream.aclose()  # type: ignore[attr-defined]  # every stream of a watch has it


def selectable_definition(ca: Path) -> Object:
    """`host_definition` whose v2 can be selected by what v1 has not."""
    body = host_definition(ca)
    body["spec"]["versions"][1]["selectableFields"] = [{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}]
    return body


async def events_of(stream: Any) -> list[tuple[str, str, str]]:
    events = [orjson.loads(line) for line in (await anext(aiter(stream))).splitlines()]
    return [(event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]["port"]) for event in events]


async def test_fields_that_only_the_webhook_makes_are_selected_by(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook(), selectable_definition) as api:
        for name, port in (("a", 1), ("b", 2), ("c", 2), ("d", 3)):
            await api.json("POST", OLD, host(name, "v1", hostPort=f"h:{port}"), expect=201)

        async def names(query: str) -> list[str]:
            listed = await api.json("GET", f"{NEW}?{query}")
            return [item["metadata"]["name"] for item in listed["items"]]

        assert await names("fieldSelector=spec.port%3D2,spec.host%3Dh") == ["b", "c"]
        assert await names("fieldSelector=spec.port%21%3D2") == ["a", "d"]
        assert await names("fieldSelector=spec.port%3D2,metadata.name%3Db") == ["b"]
        page = await api.json("GET", f"{NEW}?fieldSelector=spec.port%3D2&limit=1")
        assert "remainingItemCount" not in page["metadata"]
        assert await names(f"fieldSelector=spec.port%3D2&limit=1&continue={page['metadata']['continue']}") == ["c"]
        gone = await api.json("DELETE", f"{NEW}?fieldSelector=spec.port%3D2&dryRun=All")
        assert [item["metadata"]["name"] for item in gone["items"]] == ["b", "c"]
        await api.json("DELETE", f"{NEW}?fieldSelector=spec.port%3D2")
        assert await names("") == ["a", "d"]


async def test_a_watch_sees_what_enters_and_leaves_such_a_selection(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook(), selectable_definition) as api:
        made = await api.json("POST", OLD, host("a", "v1", hostPort="h:2"), expect=201)
        query = f"watch=true&fieldSelector=spec.port%3D2&resourceVersion={made['metadata']['resourceVersion']}"
        stream = (await api.send("GET", f"{NEW}?{query}")).stream
        assert stream is not None
        await api.json("POST", OLD, host("b", "v1", hostPort="h:1"), expect=201)
        for port in (1, 3, 2):
            changed = {"spec": {"hostPort": f"h:{port}"}}
            await api.json("PATCH", f"{OLD}/a", changed, headers=MERGE)
        assert await events_of(stream) == [("DELETED", "a", "2"), ("ADDED", "a", "2")]
        await api.json("DELETE", f"{OLD}/a")
        assert await events_of(stream) == [("DELETED", "a", "2")]
        await stream.aclose()  # type: ignore[attr-defined]  # every stream of a watch has it
        again = (await api.send("GET", f"{NEW}?{query}")).stream
        assert [event[0] for event in await events_of(again)] == ["DELETED", "ADDED", "DELETED"]
        await again.aclose()  # type: ignore[union-attr]  # every stream of a watch has it


async def test_a_watch_goes_on_with_the_converter_of_a_changed_definition(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook()) as api:
        stream = (await api.send("GET", f"{NEW}?watch=true")).stream
        changed = {"metadata": {"annotations": {"touched": "yes"}}, "spec": {"names": {"categories": ["all"]}}}
        await api.json("PATCH", f"{DEFINITIONS_PATH}/hosts.example.com", changed, headers=MERGE)
        await api.json("POST", OLD, host("a", "v1", hostPort="h:2"), expect=201)
        assert await events_of(stream) == [("ADDED", "a", "2")]
        await stream.aclose()  # type: ignore[union-attr]  # every stream of a watch has it


async def test_a_watch_ends_with_what_the_webhook_refuses(tmp_path: Path) -> None:
    async with converting(tmp_path, Webhook(lambda body, target: {**body, "apiVersion": "example.com/v9"})) as api:
        await api.json("POST", OLD, host("a", "v1", hostPort="h:2"), expect=201)
        stream = (await api.send("GET", f"{NEW}?watch=true")).stream
        assert stream is not None
        (event,) = [orjson.loads(piece) async for piece in stream]
        assert (event["type"], event["object"]["code"]) == ("ERROR", 500)


async def test_objects_that_an_earlier_storage_version_left(tmp_path: Path) -> None:
    webhook = Webhook()
    async with converting(tmp_path, webhook) as api:
        await api.json("POST", OLD, host("a", "v1", hostPort="h:1"), expect=201)
        crd = await api.json("GET", f"{DEFINITIONS_PATH}/hosts.example.com")
        for version in crd["spec"]["versions"]:
            version["storage"] = version["name"] == "v2"
        await api.json("PUT", f"{DEFINITIONS_PATH}/hosts.example.com", crd)
        await api.json("POST", NEW, host("b", "v2", host="h", port="2"), expect=201)
        for path, field, found in ((NEW, "port", ["1", "2"]), (OLD, "hostPort", ["h:1", "h:2"])):
            items = (await api.json("GET", path))["items"]
            assert [item["spec"][field] for item in items] == found
        assert (await api.json("GET", f"{NEW}/a"))["spec"] == {"host": "h", "port": "1"}
        stream = (await api.send("GET", f"{NEW}?watch=true")).stream
        assert stream is not None
        first = (await anext(aiter(stream))).splitlines()[0]
        assert orjson.loads(first)["object"]["spec"]["port"] == "1"
        await stream.aclose()  # type: ignore[attr-defined]  # every stream of a watch has it
        patched = await api.json("PATCH", f"{NEW}/a", {"spec": {"port": "3"}}, headers=MERGE)
        assert patched["spec"] == {"host": "h", "port": "3"}


async def test_failures_are_told_and_write_nothing(tmp_path: Path) -> None:
    webhook = Webhook(lambda body, target: {**body, "apiVersion": "example.com/v9"})
    async with converting(tmp_path, webhook) as api:
        code, reason, message = await api.refused("POST", NEW, host("a", "v2", host="x", port="1"))
        assert (code, reason) == (500, "InternalError")
        assert message == (
            "Internal error occurred: conversion webhook for example.com/v2, Kind=Host failed: invalid converted "
            "object at index 0: expected version example.com/v1, got example.com/v9"
        )
        assert (await api.json("GET", OLD))["items"] == []


async def test_a_webhook_may_not_change_names_but_labels(tmp_path: Path) -> None:
    def change(body: Object, target: str) -> Object:
        result = split_or_join(body, target)
        result["metadata"] = {**body["metadata"], "labels": {"converted": "yes"}, "generation": 77}
        return result

    async with converting(tmp_path, Webhook(change)) as api:
        await api.json("POST", OLD, host("a", "v1", hostPort="h:1"), expect=201)
        seen = await api.json("GET", f"{NEW}/a")
        assert (seen["metadata"]["labels"], seen["metadata"]["generation"]) == ({"converted": "yes"}, 1)


async def test_an_untrusted_webhook_is_not_asked(tmp_path: Path) -> None:
    files = tls_files(tmp_path, "webhook.default.svc")
    (tmp_path / "other").mkdir()
    other, _ = tls_files(tmp_path / "other", "webhook.default.svc")
    webhook = Webhook()
    async with https_server(webhook, files) as port, extended(resolve=lambda *_: ("127.0.0.1", port)) as api:
        await define(api, host_definition(other))
        code, _, message = await api.refused("POST", NEW, host("a", "v2", host="x", port="1"))
        assert code == 500
        assert "conversion webhook for example.com/v2, Kind=Host failed: Post" in message
        assert webhook.reviews == []


async def test_a_service_without_endpoints(tmp_path: Path) -> None:
    ca, _ = tls_files(tmp_path, "webhook.default.svc")
    async with extended() as api:
        await define(api, host_definition(ca))
        _, _, message = await api.refused("POST", NEW, host("a", "v2", host="x", port="1"))
        assert message.endswith('failed: service "webhook" not found')
