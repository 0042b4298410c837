"""Pruning, defaults, validation and rules of a schema, without a server."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.extensions.harness import certificate_definition, cron_tab, monitor_definition
from twinplane.controlplane.api.extensions.customresources.behaviour import SchemaBehaviour
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import copied

TEXT = {"type": "string"}


def behaviour(**properties: Any) -> SchemaBehaviour:
    return SchemaBehaviour({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})


def body(**spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}


def errors(schema: Object, value: Any, *old: Any) -> list[str]:
    before = body(a=old[0]) if old else None
    return [error.text() for error in behaviour(a=schema).validate(body(a=value), before)]


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"type": "integer"}, "x", 'spec.a: Invalid value: "string": spec.a in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'spec.a: Invalid value: "number": spec.a in body must be of type integer: "number"'),
        ({"type": "boolean"}, 1, 'spec.a: Invalid value: "integer": spec.a in body must be of type boolean: "integer"'),
        ({"type": "string"}, None, 'spec.a: Invalid value: "null": spec.a in body must be of type string: "null"'),
        ({"type": "string", "enum": ["x", "y"]}, "z", 'spec.a: Unsupported value: "z": supported values: "x", "y"'),
        ({"type": "string", "maxLength": 2}, "abc", "spec.a: Too long: may not be more than 2 bytes"),
        (
            {"type": "string", "minLength": 2},
            "a",
            'spec.a: Invalid value: "a": spec.a in body should be at least 2 chars long',
        ),
        ({"type": "string", "pattern": "^x"}, "a", "spec.a: Invalid value: \"a\": spec.a in body should match '^x'"),
        (
            {"type": "integer", "maximum": 5},
            6,
            "spec.a: Invalid value: 6: spec.a in body should be less than or equal to 5",
        ),
        (
            {"type": "number", "minimum": 1.5, "exclusiveMinimum": True},
            1.5,
            "spec.a: Invalid value: 1.5: spec.a in body should be greater than 1.5",
        ),
        (
            {"type": "number", "multipleOf": 0.1},
            0.25,
            "spec.a: Invalid value: 0.25: spec.a in body should be a multiple of 0.1",
        ),
        (
            {"type": "array", "items": TEXT, "maxItems": 1},
            ["a", "b"],
            "spec.a: Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "array", "items": TEXT, "minItems": 1},
            [],
            "spec.a: Invalid value: 0: spec.a in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": {"type": "integer"}},
            [1, "x"],
            'spec.a[1]: Invalid value: "string": spec.a[1] in body must be of type integer: "string"',
        ),
        (
            {"type": "object", "additionalProperties": TEXT, "maxProperties": 1},
            {"x": "1", "y": "2"},
            "spec.a: Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "object", "additionalProperties": TEXT},
            {"x": 1},
            'spec.a.x: Invalid value: "integer": spec.a.x in body must be of type string: "integer"',
        ),
        ({"type": "object", "required": ["x"], "properties": {"x": TEXT}}, {}, "spec.a.x: Required value"),
        (
            {"type": "string", "format": "date-time"},
            "today",
            'spec.a: Invalid value: "today": spec.a in body must be of type date-time: "today"',
        ),
        (
            {"type": "string", "format": "ipv4"},
            "::1",
            'spec.a: Invalid value: "::1": spec.a in body must be of type ipv4: "::1"',
        ),
        (
            {"type": "string", "not": {"enum": ["x"]}},
            "x",
            '<nil>: Invalid value: "": "spec.a" must not validate the schema (not)',
        ),
        (
            {"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 9}]},
            5,
            '<nil>: Invalid value: "": "spec.a" must validate at least one schema (anyOf)',
        ),
        (
            {"type": "integer", "oneOf": [{"maximum": 5}, {"minimum": 5}]},
            5,
            (
                '<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found 2 valid '
                "alternatives"
            ),
        ),
        (
            {"type": "integer", "allOf": [{"maximum": 1}, {"minimum": 0}]},
            5,
            '<nil>: Invalid value: "": "spec.a" must validate all the schemas (allOf)',
        ),
        (
            {"x-kubernetes-int-or-string": True},
            1.5,
            'spec.a: Invalid value: "number": spec.a in body must be of type integer,string: "number"',
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT},
            ["x", "y", "x"],
            'spec.a[2]: Duplicate value: "x"',
        ),
    ],
)
def test_words(schema: Object, value: Any, text: str) -> None:
    assert text in errors(schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 2),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-preserve-unknown-fields": True}, {"any": [1, None]}),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, "5%"),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"type": "string", "format": "duration"}, "1h30m"),
        ({"type": "string", "format": "unheard-of"}, "x"),
    ],
)
def test_accepted(schema: Object, value: Any) -> None:
    assert errors(schema, value) == []


def test_what_did_not_change_is_not_validated_again() -> None:
    schema = {"type": "string", "maxLength": 2}
    assert errors(schema, "long", "long") == []
    assert errors(schema, "longer", "long") != []
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": schema}},
    }
    old = [{"k": "a", "v": "long"}, {"k": "b"}]
    assert errors(keyed, [{"k": "c"}, *old], old) == []
    assert errors({"type": "array", "items": keyed["items"]}, [{"k": "c"}, *old], old) != []


def test_true_is_not_one() -> None:
    assert errors({"type": "boolean"}, 1, True) != []


def with_rule(schema: Object, text: str, **more: Any) -> Object:
    return schema | {"x-kubernetes-validations": [{"rule": text} | more]}


PAIR = {"type": "object", "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}}


def test_rules_and_their_messages() -> None:
    text = "self.min <= self.max"
    assert errors(with_rule(PAIR, text), {"min": 2, "max": 1}) == [
        'spec.a: Invalid value: "object": failed rule: self.min <= self.max'
    ]
    assert errors(with_rule(PAIR, text, message="min above max", fieldPath=".min"), {"min": 2, "max": 1}) == [
        'spec.a.min: Invalid value: "object": min above max'
    ]
    expression = "'min ' + string(self.min) + ' > ' + string(self.max)"
    schema = with_rule(PAIR, text, messageExpression=expression, reason="FieldValueForbidden")
    assert errors(schema, {"min": 2, "max": 1}) == ["spec.a: Forbidden: min 2 > 1"]
    assert errors(with_rule(PAIR, text), {"min": 2}) == [
        'spec.a: Invalid value: "object": no such key: max evaluating rule: self.min <= self.max'
    ]


def test_transition_rules() -> None:
    schema = with_rule(TEXT, "self == oldSelf", message="immutable")
    assert errors(schema, "a") == []
    assert errors(schema, "a", "a") == []
    assert errors(schema, "b", "a") == ['spec.a: Invalid value: "string": immutable']
    optional = with_rule(TEXT, "oldSelf.hasValue() || self == 'first'", optionalOldSelf=True, message="wrong start")
    assert errors(optional, "a") == ['spec.a: Invalid value: "string": wrong start']
    assert errors(optional, "first") == []
    assert errors(optional, "b", "a") == []


def test_rules_are_ratcheted() -> None:
    schema = with_rule(TEXT, "self.size() < 3")
    assert errors(schema, "long", "long") == []
    assert errors(schema, "longer", "long") != []


def test_rules_wait_for_a_sound_object() -> None:
    found = errors(with_rule(PAIR, "self.min <= self.max"), {"min": "x", "max": 1})
    assert found[-1].startswith("<nil>: Invalid value: null: some validation rules were not checked because")


def test_how_values_look_in_rules() -> None:
    assert (
        errors(
            with_rule({"type": "string", "format": "date-time"}, "self.getFullYear() > 2000"), "2024-01-01T00:00:00Z"
        )
        == []
    )
    assert errors(with_rule({"type": "string", "format": "duration"}, "self > duration('1m')"), "1h") == []
    assert errors(with_rule({"type": "string", "format": "byte"}, "self == b'hi'"), "aGk=") == []
    assert errors(with_rule({"type": "number"}, "self * 1.5 == 3.0"), 2) == []
    assert errors(with_rule({"x-kubernetes-int-or-string": True}, "type(self) == int ? self > 1 : true"), 2) == []
    odd = {"type": "object", "properties": {"a-b": {"type": "integer"}, "namespace": TEXT, "x.y": TEXT}}
    assert (
        errors(with_rule(odd, "self.a__dash__b == 1 && self.__namespace__ == 'n'"), {"a-b": 1, "namespace": "n"}) == []
    )
    assert (
        errors(with_rule({"type": "object", "additionalProperties": TEXT}, "self.all(k, k == 'a-b')"), {"a-b": "x"})
        == []
    )


def test_the_root_sees_its_name() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object"}},
        "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('x') && !has(self.metadata.labels)"}],
    }
    found = SchemaBehaviour(schema).validate(body(), None)
    assert found[0].text().startswith('<nil>: Invalid value: "object": failed rule: self.metadata')


def test_pruning() -> None:
    one = behaviour(
        known=TEXT,
        free={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"in": {"type": "object"}}},
        embedded={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
        map={"type": "object", "additionalProperties": {"type": "object", "properties": {"x": TEXT}}},
    )
    thing = body(
        known="a",
        other=1,
        free={"more": 1, "in": {"gone": 1}},
        embedded={"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": {"gone": 1}, "gone": 1},
        map={"k": {"x": "1", "gone": 1}},
    )
    assert one.unknown_fields(thing) == [
        "spec.free.in.gone",
        "spec.embedded.spec.gone",
        "spec.embedded.gone",
        "spec.map.k.gone",
        "spec.other",
    ]
    one.prune(thing)
    assert thing["spec"] == {
        "known": "a",
        "free": {"more": 1, "in": {}},
        "embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": {}},
        "map": {"k": {"x": "1"}},
    }


def test_defaults() -> None:
    one = behaviour(
        a={"type": "string", "default": "x"},
        b={"type": "object", "default": {}, "properties": {"c": {"type": "integer", "default": 1}}},
        d={"type": "array", "items": {"type": "object", "properties": {"e": {"type": "boolean", "default": True}}}},
        f=TEXT,
        g={"type": "string", "nullable": True, "default": "y"},
        h={
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"i": {"type": "integer", "default": 2}}},
        },
    )
    thing = body(a=None, d=[{}], f=None, g=None, h={"k": {}})
    assert one.default(thing)
    assert thing["spec"] == {"a": "x", "d": [{"e": True}], "g": None, "h": {"k": {"i": 2}}, "b": {"c": 1}}
    assert not one.default(thing)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "cronSpec",
    "replicas",
    "ports",
    "image",
    "secretName",
    "dnsNames",
    "issuerRef",
    "template",
    "resources",
    "extra",
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), json_values, max_size=5))
def test_any_object_is_answered(spec: Object) -> None:
    """Nothing that a client sends makes pruning, defaults or validation fail, and a second pass changes nothing."""
    for made in (cron_tab(), certificate_definition(), monitor_definition()):
        one = SchemaBehaviour(made["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        thing = body(**copied(spec))
        one.prune(thing)
        one.default(thing)
        before = copied(thing)
        assert one.unknown_fields(thing) == []
        one.prune(thing)
        assert not one.default(thing)
        assert thing == before
        one.validate(thing, None)


def test_validation_is_fast() -> None:
    """A schema of some 200 lines with two rules: far below the half millisecond that 1,500 creates a second leave."""
    inner = {
        "type": "object",
        "properties": {f"f{index}": {"type": "string", "maxLength": 64, "default": "x"} for index in range(20)},
    }
    many = {f"group{index}": inner | {"default": {}} for index in range(5)}
    schema = with_rule({"type": "object", "properties": many | {"n": {"type": "integer"}}}, "self.n > 1")
    schema["x-kubernetes-validations"].append({"rule": "self.group0.f1 == self.group1.f1"})
    one = behaviour(a=schema)
    thing = body(a={"n": 2})
    one.default(thing)
    assert one.validate(thing, None) == []
    begin = time.process_time()
    for _ in range(20):
        one.validate(thing, None)
    assert (time.process_time() - begin) / 20 < 0.003
