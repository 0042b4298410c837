"""Discovery and OpenAPI documents as clients read them; the registry beneath."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from twinplane.controlplane.api.types import discovery, openapi
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.openapi import protobuf
from twinplane.controlplane.api.types.openapi.schemas import _custom_object
from twinplane.controlplane.api.types.registry import Registry, built_in_types, version_rank
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Resource

GOLDEN = Path(__file__).parent / "golden"
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)


@pytest.fixture
def with_widgets() -> Registry:
    registry = built_in_types("1.36")
    raw = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    registry.register(ResourceType(WIDGETS, "widget", Schema(raw, {})))
    return registry


def test_registration(with_widgets: Registry) -> None:
    before = with_widgets.generation
    assert with_widgets.by_kind("example.com", "v1", "Widget") is with_widgets.lookup("example.com", "v1", "widgets")
    assert with_widgets.groups()[-1] == "example.com"
    with_widgets.unregister(WIDGETS)
    assert with_widgets.generation > before
    assert with_widgets.lookup("example.com", "v1", "widgets") is None
    assert with_widgets.preferred_version("example.com") == ""
    with_widgets.unregister(WIDGETS)


def test_versions_rank_as_upstream_ranks_them() -> None:
    ranked = sorted(["v1beta1", "foo", "v2", "v1", "v11alpha2", "v1beta2", "v10"], key=version_rank, reverse=True)
    assert ranked == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v11alpha2", "foo"]


def test_storage_hashes_are_those_of_a_real_cluster(registry: Registry) -> None:
    for group, plural, expected in (("", "pods", "xPOwRZ+Yhw8="), ("apps", "deployments", "8aSe+NMegvE=")):
        served = registry.lookup(group, "v1", plural)
        assert served is not None
        assert discovery.storage_version_hash(served) == expected


@pytest.mark.parametrize(
    ("name", "group", "version"), [("core", "", "v1"), ("apps", "apps", "v1"), ("policy", "policy", "v1")]
)
def test_resource_lists_match_the_golden_files(registry: Registry, name: str, group: str, version: str) -> None:
    golden = orjson.loads((GOLDEN / f"resources-{name}.json").read_bytes())
    assert discovery.resource_list(registry, group, version) == golden


def test_groups(registry: Registry) -> None:
    groups = discovery.group_list(registry)["groups"]
    assert [group["name"] for group in groups[:3]] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]
    autoscaling = discovery.group(registry, "autoscaling")
    assert autoscaling is not None
    assert [version["version"] for version in autoscaling["versions"]] == ["v2", "v1"]
    assert autoscaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert discovery.group(registry, "nope") is None
    assert discovery.group(registry, "") is None
    assert discovery.resource_list(registry, "apps", "v1beta1") is None
    assert discovery.legacy_versions("10.0.0.1:443")["versions"] == ["v1"]


def test_aggregated_discovery_says_the_same(registry: Registry) -> None:
    [core] = discovery.aggregated(registry, legacy=True)["items"]
    assert core["versions"][0]["version"] == "v1"
    pods = next(entry for entry in core["versions"][0]["resources"] if entry["resource"] == "pods")
    assert pods["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert pods["scope"] == "Namespaced"
    eviction = next(entry for entry in pods["subresources"] if entry["subresource"] == "eviction")
    assert eviction["responseKind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    named = discovery.aggregated(registry, legacy=False)["items"]
    assert [item["metadata"]["name"] for item in named] == registry.groups()


def test_the_index_of_documents_names_every_group_version(with_widgets: Registry) -> None:
    paths = openapi.v3_index(with_widgets)["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/example.com/v1"} <= paths.keys()
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url.startswith("/openapi/v3/apis/apps/v1?hash=")
    assert url == openapi.v3_index(built_in_types("1.36"))["paths"]["apis/apps/v1"]["serverRelativeURL"]
    assert url != openapi.v3_index(built_in_types("1.35"))["paths"]["apis/apps/v1"]["serverRelativeURL"]


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {name for item in node for name in _references(item)}
    if not isinstance(node, dict):
        return set()
    here = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return here | {name for value in node.values() for name in _references(value)}


def test_every_document_is_closed(with_widgets: Registry) -> None:
    for path in openapi.v3_index(with_widgets)["paths"]:
        raw = openapi.v3(with_widgets, path)
        assert raw is not None
        document = orjson.loads(raw)
        schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert _references(document) <= schemas
    assert openapi.v3(with_widgets, "apis/nope/v1") is None
    swagger = orjson.loads(openapi.v2(with_widgets))
    assert _references(swagger) <= {f"#/definitions/{name}" for name in swagger["definitions"]}


def test_operations_carry_what_kubectl_looks_for(with_widgets: Registry) -> None:
    document = orjson.loads(openapi.v3(with_widgets, "apis/apps/v1") or b"")
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert patch["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldValidation", "fieldManager", "force"} <= {entry["name"] for entry in patch["parameters"]}
    scale = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"]["kind"] == "Scale"
    port = orjson.loads(openapi.v3(with_widgets, "api/v1") or b"")["components"]["schemas"]
    assert port["io.k8s.api.core.v1.ServicePort"]["properties"]["protocol"]["default"] == "TCP"
    assert port["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}
    ]
    widget = orjson.loads(openapi.v3(with_widgets, "apis/example.com/v1") or b"")["components"]["schemas"]
    assert widget["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"] == {"type": "integer"}


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Length-delimited fields of a protobuf message."""
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        assert key & 7 == 2
        size, at = _varint(data, at)
        found.append((key >> 3, data[at : at + size]))
        at += size
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return result, at


def test_the_protobuf_document_has_every_definition(registry: Registry) -> None:
    document = dict(_fields(openapi.v2_protobuf(registry)))
    assert document[1] == b"2.0"
    names = [dict(_fields(body))[1].decode() for _, body in _fields(document[9])]
    assert names == list(registry.definitions)
    assert protobuf.encode("", "", {"a": {"type": "string", "x-y": 1}}).endswith(b"x-y\x12\x03\x12\x011")


def test_custom_types_are_published_as_kubectl_understands_them() -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "required": ["spec"]}
    raw = {
        "type": "object",
        "required": ["some", "none"],
        "properties": {
            "none": {"type": "string", "nullable": True},
            "some": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
            "either": {"type": "integer", "anyOf": [{"minimum": 1}]},
            "template": embedded,
        },
    }
    old = _custom_object(raw, v2=True)
    assert old["required"] == ["some"]
    assert old["properties"]["none"] == {}
    assert old["properties"]["some"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert old["properties"]["either"] == {"type": "integer"}
    for found in (old, _custom_object(raw, v2=False)):
        assert found["properties"]["template"]["required"] == ["spec", "kind", "apiVersion"]
        assert found["properties"]["template"]["properties"].keys() == {"apiVersion", "kind", "metadata"}
        assert {"apiVersion", "kind", "metadata"} <= found["properties"].keys()
    assert _custom_object({**raw, "x-kubernetes-preserve-unknown-fields": True}, v2=True) == {"type": "object"}
    assert _custom_object(raw, v2=False)["properties"]["either"]["anyOf"] == [{"minimum": 1}]
