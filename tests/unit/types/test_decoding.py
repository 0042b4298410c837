"""Decoding speaks Go: type errors with struct and path, unknown fields, canonical scalars."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.types import objects
from tests.unit.types.conftest import Change, Writer
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.decoding import _micro_time, _time
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError

CONTAINER = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "spec.replicas",
            "3",
            "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.replicas",
            1.5,
            "cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.replicas",
            3_000_000_000,
            "cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ("spec.paused", "no", "cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool"),
        (
            f"{CONTAINER}.env",
            {"A": "b"},
            (
                "cannot unmarshal object into Go struct field Container.spec.template.spec.containers.env "
                "of type []v1.EnvVar"
            ),
        ),
        (
            f"{CONTAINER}.env",
            [{"name": "A", "value": 1}],
            (
                "cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value "
                "of type string"
            ),
        ),
        (
            "metadata.labels",
            {"a": True},
            "cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ("spec", [], "cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            "spec.strategy.rollingUpdate",
            {"maxSurge": True},
            "cannot unmarshal bool into Go value of type int32",
        ),
    ],
)
def test_type_errors_read_as_in_go(
    *, registry: Registry, rules: UpstreamRules, changed: Change, path: str, value: Any, expected: str
) -> None:
    served = registry.lookup("apps", "v1", "deployments")
    assert served is not None
    with pytest.raises(ApiError) as caught:
        rules.decode(served, changed(objects.DEPLOYMENT, path, value))
    assert caught.value.code == 400
    assert caught.value.message == f'Deployment in version "v1" cannot be handled as a Deployment: json: {expected}'


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        ("POD", "spec.containers.0.resources", {"limits": {"cpu": "1 x"}}, "quantities must match the regular"),
        ("POD", "spec.containers.0.resources", {"limits": {"cpu": "1KM"}}, "unable to parse quantity's suffix"),
        ("POD", "metadata.creationTimestamp", "noon", 'parsing time "noon" as "2006-01-02T15:04:05Z07:00"'),
        ("POD", "metadata.creationTimestamp", "2026-13-01T00:00:00Z", "out of range"),
    ],
)
def test_text_that_does_not_parse_is_a_bad_request(
    *, writer: Writer, changed: Change, kind: str, path: str, value: Any, expected: str
) -> None:
    with pytest.raises(ApiError) as caught:
        writer.create(changed(getattr(objects, kind), path, value))
    assert caught.value.code == 400
    assert expected in caught.value.message


def test_base64_is_checked(writer: Writer) -> None:
    with pytest.raises(ApiError, match="illegal base64 data at input byte 3"):
        writer.create(objects.make("v1", "Secret", data={"key": "abc*"}))


def test_scalars_become_canonical_and_empty_things_go(writer: Writer, changed: Change) -> None:
    pod = changed(objects.POD, "spec.containers.0.resources", {"limits": {"cpu": 0.5, "memory": "1024Mi"}})
    pod["metadata"] |= {"labels": {}, "annotations": None, "finalizers": [], "nonsense": 1}
    pod["metadata"]["creationTimestamp"] = "2026-11-23T15:00:00.25+02:00"
    pod["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    stored, errors = writer.create(pod)
    assert errors == []
    assert stored["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert stored["metadata"].keys() == {"name", "namespace", "uid", "generation", "creationTimestamp"}
    assert stored["metadata"]["creationTimestamp"] == "2026-11-23T13:00:00Z"
    assert stored["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]


def test_times_of_the_first_years_keep_their_zeros() -> None:
    assert _micro_time("0001-01-01T00:00:02Z") == "0001-01-01T00:00:02.000000Z"
    assert _time("0001-01-01T00:00:02.5Z") == "0001-01-01T00:00:02Z"


def test_micro_times_keep_their_fraction(writer: Writer) -> None:
    lease = objects.make("coordination.k8s.io/v1", "Lease", spec={"renewTime": "2026-11-23T13:00:00.5Z"})
    assert writer.create(lease)[0]["spec"]["renewTime"] == "2026-11-23T13:00:00.500000Z"


def test_nulls_in_lists_and_maps_become_zero_values(writer: Writer) -> None:
    body = objects.make("v1", "ConfigMap", data={"key": None})
    assert writer.create(body)[0]["data"] == {"key": ""}


def test_unknown_fields_are_named_with_their_path(writer: Writer, changed: Change) -> None:
    body = changed(objects.DEPLOYMENT, f"{CONTAINER}.imag", "x")
    body["spec"]["foo"] = body["bar"] = 1
    served = writer.type(body)
    assert writer.rules.unknown_fields(served, body) == [
        'unknown field "spec.template.spec.containers[0].imag"',
        'unknown field "spec.foo"',
        'unknown field "bar"',
    ]
    writer.rules.decode(served, body)
    assert writer.rules.unknown_fields(served, body) == []


_LISTS = {"type": "array", "items": {"type": "string"}, "default": []}


def test_schemas_of_schemas_are_decoded_to_any_depth(writer: Writer, changed: Change) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": _LISTS}}}
    body = changed(objects.DEFINITION, "spec.versions.0.schema.openAPIV3Schema", schema)
    stored, errors = writer.create(body)
    assert errors == []
    assert stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_registry = built_in_types("1.36")
_rules = UpstreamRules(_registry)


@given(
    st.sampled_from(objects.VALID),
    st.sampled_from(["metadata", "spec", "status", "data", "subjects", "rules", "webhooks", "endpoints"]),
    _json,
)
def test_any_json_is_stored_or_refused_but_never_breaks(body: Object, field: str, value: Any) -> None:
    _write(body | {field: value})


@given(
    st.sampled_from([body for body in objects.VALID if body.get("spec")]),
    st.data(),
    _json,
)
def test_any_json_deep_inside_never_breaks_either(body: Object, data: st.DataObject, value: Any) -> None:
    body = copy.deepcopy(body)
    place: Any = body["spec"]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        below = place[key]
        if not isinstance(below, dict | list) or not below or data.draw(st.booleans()):
            place[key] = value
            break
        place = below
    _write(body)


def _write(body: Object) -> None:
    body = copy.deepcopy(body)
    group, _, version = body["apiVersion"].rpartition("/")
    served = _registry.by_kind(group, version, body["kind"])
    assert served is not None
    try:
        _rules.unknown_fields(served, body)
        _rules.decode(served, body)
        _rules.prepare_create(served, body)
        _rules.default(served, body)
        _rules.validate(served, body, None)
        old = copy.deepcopy(body)
        _rules.prepare_update(served, body, old, "")
        _rules.validate(served, body, old)
    except ApiError as error:
        if error.code != 400:
            raise


def test_custom_resources_are_pruned_by_their_schema(registry: Registry, rules: UpstreamRules) -> None:
    raw = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    served = ResourceType(Resource("example.com", "v1", "widgets", "Widget", True), "widget", Schema(raw, {}))
    body: Object = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "labels": {"b": "c"}}}
    body |= {"spec": {"size": 1, "colour": "red"}, "free": {"any": 1}, "extra": 1}
    assert rules.unknown_fields(served, body) == ['unknown field "spec.colour"', 'unknown field "extra"']
    rules.decode(served, body)
    assert body["spec"] == {"size": 1}
    assert body["free"] == {"any": 1}
    assert "extra" not in body
    assert body["metadata"]["labels"] == {"b": "c"}
    with pytest.raises(ApiError, match=r"Go struct field ObjectMeta\.metadata\.labels of type string"):
        rules.decode(served, {"metadata": {"labels": {"a": 1}}})
