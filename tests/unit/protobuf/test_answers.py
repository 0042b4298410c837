"""The server's answers to clients that take nothing but protobuf."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from tests.unit.api.harness import Api, api_server, config_map
from tests.unit.extensions.harness import define, definition, extended, object_of
from twinplane.controlplane.api.protobuf import wire
from twinplane.controlplane.api.protobuf.answers import wanted
from twinplane.controlplane.api.protobuf.decoding import MEDIA_TYPE, decode
from twinplane.kubeclient.contract import Object

MAPS = "/api/v1/namespaces/default/configmaps"
ONLY = {"accept": MEDIA_TYPE}
METADATA = {"accept": f"{MEDIA_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


async def seen(server: Api, path: str, headers: dict[str, str] = ONLY, status: int = 200) -> Object:
    response = await server.send("GET", path, headers=headers)
    assert (response.status, response.content_type) == (status, MEDIA_TYPE)
    return decode(response.whole())


def events(frames: bytes) -> list[tuple[str, Object]]:
    found = []
    while frames:
        (length,) = struct.unpack(">I", frames[:4])
        message: dict[int, Any] = dict(wire.fields(frames[4 : 4 + length]))
        raw = dict(wire.fields(message[wire.tag_of(2, wire.BYTES)]))[wire.tag_of(1, wire.BYTES)]
        found.append((message[wire.tag_of(1, wire.BYTES)].decode(), decode(raw)))
        frames = frames[4 + length :]
    return found


async def test_objects_lists_metadata_and_refusals() -> None:
    async with api_server() as server:
        for name in ("a", "b"):
            await server.json("POST", MAPS, config_map(name, {"a": "1"}), expect=201)
        as_json = await server.json("GET", MAPS)
        whole = await seen(server, MAPS)
        assert whole["kind"] == "ConfigMapList"
        assert whole["metadata"] == as_json["metadata"]
        assert [item["data"] for item in whole["items"]] == [{"a": "1"}, {"a": "1"}]
        one = await seen(server, f"{MAPS}/a")
        assert one == await server.json("GET", f"{MAPS}/a")
        page = await seen(server, f"{MAPS}?limit=1")
        assert page["metadata"]["remainingItemCount"] == 1
        partial = await seen(server, MAPS, METADATA)
        assert [item["metadata"]["name"] for item in partial["items"]] == ["a", "b"]
        missing = await seen(server, f"{MAPS}/none", status=404)
        assert (missing["kind"], missing["reason"], missing["code"]) == ("Status", "NotFound", 404)
        groups = await seen(server, "/apis")
        assert groups["kind"] == "APIGroupList"
        resources = await seen(server, "/apis/apps/v1")
        assert {"deployments", "deployments/scale"} <= {each["name"] for each in resources["resources"]}


async def test_a_watch_is_framed() -> None:
    async with api_server() as server:
        await server.json("POST", MAPS, config_map("a", {"a": "1"}), expect=201)
        response = await server.send("GET", f"{MAPS}?watch=true", headers=ONLY)
        assert response.content_type == f"{MEDIA_TYPE};stream=watch"
        stream: Any = response.stream
        await server.json("POST", MAPS, config_map("b", {"a": "1"}), expect=201)
        found = [*events(await anext(stream)), *events(await anext(stream))]
        assert [(kind, body["metadata"]["name"]) for kind, body in found] == [("ADDED", "a"), ("ADDED", "b")]
        await stream.aclose()
        response = await server.send("GET", f"{MAPS}?watch=true&resourceVersion=999999999999", headers=ONLY)
        stream = response.stream
        ((kind, status),) = events(await anext(stream))
        assert (kind, status["kind"], status["reason"]) == ("ERROR", "Status", "Timeout")


async def test_json_is_given_where_it_is_accepted_and_tables_have_no_message() -> None:
    async with api_server() as server:
        await server.json("POST", MAPS, config_map("a", {"a": "1"}), expect=201)
        both = await server.send("GET", MAPS, headers={"accept": f"{MEDIA_TYPE},application/json"})
        assert both.content_type == "application/json"
        table = {"accept": f"{MEDIA_TYPE};as=Table;g=meta.k8s.io;v=v1"}
        refused = await seen(server, MAPS, table, 406)
        assert refused["message"] == (
            "only the following media types are accepted: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf"
        )


async def test_custom_resources_know_no_protobuf() -> None:
    path = "/apis/example.com/v1/namespaces/default/widgets"
    async with extended() as server:
        await define(server, definition("widgets", "Widget", {"type": "object"}))
        await server.json("POST", path, object_of("Widget", "a", {}), expect=201)
        refused = await server.send("GET", path, headers=ONLY)
        assert (refused.status, refused.content_type) == (406, "application/json")
        message = orjson.loads(refused.body)["message"]
        assert message == "only the following media types are accepted: application/json, application/yaml"
        partial = await seen(server, path, METADATA)
        assert [item["metadata"]["name"] for item in partial["items"]] == ["a"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (MEDIA_TYPE, True),
        (f"{MEDIA_TYPE};stream=watch, {MEDIA_TYPE}", True),
        (f"{MEDIA_TYPE}, application/json", False),
        (f"{MEDIA_TYPE}, */*", False),
        ("application/json", False),
    ],
)
def test_who_wants_protobuf(accept: str, expected: bool) -> None:
    assert wanted(accept) is expected
