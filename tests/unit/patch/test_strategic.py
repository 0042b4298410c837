"""Strategic merge patch on the real schemas: merge keys, order, directives, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.patch.conftest import SchemaOf
from twinplane.controlplane.api.patch.strategic import apply
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": spec}


def named(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, **more} for name in names]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def patched_spec(schema_of: SchemaOf, spec: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    obj = pod(**spec)
    before = copied(obj)
    result = apply(obj, {"spec": patch}, schema_of("core.v1.Pod"))
    assert obj == before, "the argument was changed"
    spec_after: dict[str, Any] = result["spec"]
    return spec_after


def test_a_keyed_list_is_merged(schema_of: SchemaOf) -> None:
    containers = [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}]
    change = [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]}]
    spec = patched_spec(schema_of, {"containers": containers}, {"containers": change})
    assert names(spec["containers"]) == ["a", "b"]
    merged = spec["containers"][0]
    assert merged["image"] == "2"
    assert {entry["name"]: entry["value"] for entry in merged["env"]} == {"X": "1", "Y": "2"}


def test_new_elements_come_first_as_upstream_has_it(schema_of: SchemaOf) -> None:
    spec = patched_spec(schema_of, {"containers": named("a", "b")}, {"containers": named("c")})
    assert names(spec["containers"]) == ["c", "a", "b"]


def test_the_order_of_the_patch_wins_over_the_live_order(schema_of: SchemaOf) -> None:
    spec = patched_spec(schema_of, {"containers": named("a", "b", "c")}, {"containers": named("c", "a")})
    assert names(spec["containers"]) == ["b", "c", "a"]


def test_set_element_order(schema_of: SchemaOf) -> None:
    patch = {"$setElementOrder/containers": named("b", "c", "a"), "containers": named("c", image="x")}
    spec = patched_spec(schema_of, {"containers": named("a", "b", "s")}, patch)
    assert names(spec["containers"]) == ["b", "c", "a", "s"]
    assert spec["containers"][1]["image"] == "x"


def test_set_element_order_alone_sorts(schema_of: SchemaOf) -> None:
    spec = patched_spec(schema_of, {"containers": named("a", "b")}, {"$setElementOrder/containers": named("b", "a")})
    assert names(spec["containers"]) == ["b", "a"]


def test_delete_an_element(schema_of: SchemaOf) -> None:
    patch = {"containers": [{"name": "a", "$patch": "delete"}, {"name": "gone", "$patch": "delete"}]}
    spec = patched_spec(schema_of, {"containers": named("a", "b")}, patch)
    assert names(spec["containers"]) == ["b"]


def test_replace_a_list(schema_of: SchemaOf) -> None:
    patch = {"containers": [{"name": "z"}, {"$patch": "replace"}]}
    assert patched_spec(schema_of, {"containers": named("a", "b")}, patch)["containers"] == [{"name": "z"}]


def test_replace_and_delete_and_merge_a_map(schema_of: SchemaOf) -> None:
    security = {"runAsUser": 1, "fsGroup": 2}
    for directive, expected in (("replace", {"fsGroup": 3}), ("delete", {}), ("merge", {"runAsUser": 1, "fsGroup": 3})):
        patch = {"securityContext": {"$patch": directive, "fsGroup": 3}}
        assert patched_spec(schema_of, {"securityContext": security}, patch)["securityContext"] == expected


def test_atomic_lists_are_replaced(schema_of: SchemaOf) -> None:
    spec = {"tolerations": [{"key": "a"}], "containers": named("a", command=["x", "y"])}
    patch = {"tolerations": [{"key": "b"}], "containers": named("a", command=["z"])}
    result = patched_spec(schema_of, spec, patch)
    assert result["tolerations"] == [{"key": "b"}]
    assert result["containers"][0]["command"] == ["z"]


def test_retain_keys(schema_of: SchemaOf) -> None:
    spec = {"volumes": [{"name": "v", "emptyDir": {}}]}
    patch = {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}
    assert patched_spec(schema_of, spec, patch)["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_retain_keys_of_a_strategy(schema_of: SchemaOf) -> None:
    deployment = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert apply(deployment, patch, schema_of("apps.v1.Deployment"))["spec"]["strategy"] == {"type": "Recreate"}


def test_lists_of_texts(schema_of: SchemaOf) -> None:
    obj = {"metadata": {"finalizers": ["a", "b"]}}
    schema = schema_of("core.v1.Pod")
    assert apply(obj, {"metadata": {"finalizers": ["c", "a"]}}, schema)["metadata"]["finalizers"] == ["c", "a", "b"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply(obj, patch, schema)["metadata"]["finalizers"] == ["b"]
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "$setElementOrder/finalizers": ["c", "b"],
            "finalizers": ["c"],
        }
    }
    assert apply(obj, patch, schema)["metadata"]["finalizers"] == ["c", "b"]


def test_null_deletes_and_is_not_left_in_what_is_new(schema_of: SchemaOf) -> None:
    spec = patched_spec(
        schema_of,
        {"nodeName": "n"},
        {"nodeName": None, "hostname": None, "affinity": {"nodeAffinity": None, "podAffinity": {}}},
    )
    assert spec == {"affinity": {"podAffinity": {}}}


def test_directives_are_not_left_in_what_is_new(schema_of: SchemaOf) -> None:
    patch = {
        "$setElementOrder/containers": named("a"),
        "containers": [{"name": "a", "$setElementOrder/env": named("X"), "env": named("X")}],
        "initContainers": [{"name": "b", "$patch": "delete"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}],
    }
    spec = patched_spec(schema_of, {}, patch)
    assert spec == {
        "containers": [{"name": "a", "env": [{"name": "X"}]}],
        "initContainers": [],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }


def test_labels_are_merged(schema_of: SchemaOf) -> None:
    obj = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    patch = {"metadata": {"labels": {"a": None, "c": "3"}}}
    assert apply(obj, patch, schema_of("core.v1.Pod"))["metadata"]["labels"] == {"b": "2", "c": "3"}


def test_service_ports_merge_by_port(schema_of: SchemaOf) -> None:
    obj = {"spec": {"ports": [{"port": 80, "nodePort": 30000}, {"port": 443}]}}
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    ports = apply(obj, patch, schema_of("core.v1.Service"))["spec"]["ports"]
    assert ports == [{"port": 80, "nodePort": 30000, "name": "http"}, {"port": 443}]


REFUSED: dict[str, tuple[Any, str]] = {
    "no merge key": (
        {"spec": {"containers": [{"image": "x"}]}},
        "map: map[image:x] does not contain declared merge key: name",
    ),
    "mixed elements": ({"spec": {"containers": ["x"]}}, "list element types are not identical"),
    "unknown directive": ({"spec": {"$patch": "spam"}}, "unknown patch type: spam in map: map[]"),
    "unknown directive in a list": (
        {"spec": {"containers": [{"name": "a", "$patch": "spam"}]}},
        "unknown patch type: spam in map: map[$patch:spam name:a]",
    ),
    "merge a list": (
        {"spec": {"containers": [{"name": "a", "$patch": "merge"}]}},
        "merging lists cannot yet be specified in the patch",
    ),
    "retainKeys": ({"spec": {"$retainKeys": "x"}}, "invalid patch format of retainKeys"),
    "retainKeys omits a key": ({"spec": {"$retainKeys": ["a"], "b": 1}}, "invalid patch format of retainKeys"),
    "delete from": ({"spec": {"$deleteFromPrimitiveList/x": 1}}, "invalid patch format of primitive list"),
    "delete from nothing": ({"spec": {"$deleteFromPrimitiveList": []}}, "invalid patch format of primitive list"),
    "order": ({"spec": {"$setElementOrder/containers": 1}}, "invalid patch format of setElementOrder list"),
    "order does not match": (
        {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}},
        "The order in patch list",
    ),
    "not an object": ([], "invalid JSON document"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, schema_of: SchemaOf) -> None:
    patch, message = REFUSED[name]
    with pytest.raises(ApiError) as caught:
        apply(pod(containers=named("a")), patch, schema_of("core.v1.Pod"))
    assert caught.value.code == 400
    assert caught.value.message.startswith(message)


def test_lists_of_lists_are_refused(schema_of: SchemaOf) -> None:
    with pytest.raises(ApiError) as caught:
        apply(pod(containers=[["x"]]), {"spec": {"containers": [["y"]]}}, schema_of("core.v1.Pod"))
    assert caught.value.code == 422
