"""What a CustomResourceDefinition may say: refused in upstream's words and at upstream's paths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.extensions.harness import (
    DEFINITIONS,
    certificate_definition,
    conditions,
    cron_tab,
    definition,
    extended,
    monitor_definition,
    of,
)
from twinplane.controlplane.api.extensions.customresources import definition as pure
from twinplane.controlplane.api.extensions.customresources.definition_validation import validate_definition
from twinplane.controlplane.api.extensions.customresources.structural import validate_structural
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError

TEXT = {"type": "string"}
SCHEMA = "spec.versions[0].schema.openAPIV3Schema"


def field(schema: Object) -> Object:
    return {"type": "object", "properties": {"a": schema}}


def problems(schema: Object) -> list[str]:
    found: list[FieldError] = []
    validate_structural(schema, "s", found)
    return [error.text() for error in found]


@pytest.mark.parametrize("body", [cron_tab(), certificate_definition(), monitor_definition()])
def test_definitions_of_real_projects_are_fine(body: Object) -> None:
    assert [error.text() for error in validate_definition(body, None)] == []


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({}, "s.type: Required value: must not be empty at the root"),
        ({"type": "string"}, 's.type: Invalid value: "string": must be object at the root'),
        (field({}), "s.properties[a].type: Required value: must not be empty for specified object fields"),
        (field({"type": "array"}), "s.properties[a].items: Required value: must be specified"),
        (
            field({"type": "array", "items": {}}),
            "s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (field({"type": "null"}), "s.properties[a].type: Forbidden: type cannot be set to null"),
        (
            field({"type": "text"}),
            (
                's.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", '
                '"number", "object", "string"'
            ),
        ),
        (
            field({"type": "string", "$ref": "#/x"}),
            "s.properties[a].$ref: Forbidden: $ref is not supported",
        ),
        (
            {"type": "object", "additionalProperties": TEXT},
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            field({"type": "object", "properties": {"x": TEXT}, "additionalProperties": TEXT}),
            "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": TEXT}}}},
            (
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
                "metadata is implicitly specified"
            ),
        ),
        (
            field({"type": "object", "properties": {"x": TEXT}, "anyOf": [{"properties": {"x": {"type": "string"}}}]}),
            "s.properties[a].anyOf[0].properties[x].type: Forbidden: must be empty to be structural",
        ),
        (
            field({"type": "object", "anyOf": [{"properties": {"x": {"minLength": 1}}}]}),
            (
                "s.properties[a].properties[x]: Required value: because it is defined in "
                "s.properties[a].anyOf[0].properties[x]"
            ),
        ),
        (
            field({"type": "string", "pattern": "("}),
            (
                's.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error '
                "parsing regexp: missing ), unterminated subpattern at position 0"
            ),
        ),
        (
            field({"type": "array", "items": TEXT, "x-kubernetes-list-type": "map"}),
            (
                "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            ),
        ),
        (
            field(
                {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": TEXT}},
                }
            ),
            (
                "s.properties[a].items.properties[k].default: Required value: this property is in "
                "x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ),
        (
            field({"type": "string", "x-kubernetes-embedded-resource": True}),
            's.properties[a].type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true',
        ),
    ],
)
def test_schemas_are_structural(schema: Object, problem: str) -> None:
    assert problem in problems(schema)


def test_int_or_string_may_say_so() -> None:
    either = [{"type": "integer"}, {"type": "string"}]
    assert problems(field({"x-kubernetes-int-or-string": True, "anyOf": either})) == []
    assert problems(field({"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": either}, {"minLength": 1}]})) == []


def rule(text: str, **more: Any) -> Object:
    return {
        "type": "object",
        "properties": {"a": TEXT, "n": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": text} | more],
    }


@pytest.mark.parametrize(
    ("spec", "version", "problem"),
    [
        ({"type": "string", "default": 1}, {}, f"{SCHEMA}.properties[spec].default: Invalid value"),
        (
            {"type": "object", "properties": {"a": TEXT}, "default": {"b": 1}},
            {},
            f'{SCHEMA}.properties[spec].default: Invalid value: {{"b":1}}: must not have unknown fields',
        ),
        (
            rule("self.a +"),
            {},
            "compilation failed: ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>'",
        ),
        (rule("self.b == 'x'"), {}, "compilation failed: ERROR: <input>:1:5: undefined field 'b'"),
        (rule("self.a"), {}, ""),
        (rule("'text'"), {}, "cel expression must evaluate to a bool"),
        (rule("true", messageExpression="1"), {}, "messageExpression must evaluate to a string"),
        (rule("true", fieldPath=".c"), {}, "fieldPath must be a valid path: does not refer to a valid field"),
        (rule("true", reason="Whim"), {}, 'reason: Unsupported value: "Whim": supported values: "FieldValueRequired"'),
        (rule(""), {}, "x-kubernetes-validations[0].rule: Required value: rule is not specified"),
        (rule("true ||\nfalse"), {}, "message: Required value: message must be specified if rule contains line breaks"),
        (
            {"type": "array", "items": rule("self.a == oldSelf.a")},
            {},
            (
                "oldSelf cannot be used on the uncorrelatable portion of the schema within "
                f"{SCHEMA}.properties[spec].items"
            ),
        ),
        (
            TEXT,
            {"additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": "spec"}]},
            "additionalPrinterColumns[0].type: Invalid value",
        ),
        (
            TEXT,
            {"additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": "spec"}]},
            'additionalPrinterColumns[0].jsonPath: Invalid value: "spec": must be a simple json path starting with .',
        ),
        (
            TEXT,
            {"subresources": {"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ".status.b"}}},
            'scale.specReplicasPath: Invalid value: ".status.a": should be a json path under .spec',
        ),
        (
            TEXT,
            {"selectableFields": [{"jsonPath": ".metadata.name"}]},
            'selectableFields[0].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata',
        ),
        (
            rule("true"),
            {"selectableFields": [{"jsonPath": ".spec"}]},
            "must point to a field of type string, boolean or integer",
        ),
    ],
)
def test_versions(spec: Object, version: Object, problem: str) -> None:
    body = definition("things", "Thing", of(spec), **version)
    found = [error.text() for error in validate_definition(body, None)]
    assert any(problem in text for text in found) if problem else not found, found


async def test_refusals_over_the_api() -> None:
    async with extended() as api:
        wrong = definition("things", "Thing", of(TEXT), group="example.com")
        wrong["metadata"]["name"] = "other.example.com"
        wrong["spec"]["conversion"] = {"strategy": "Webhook"}
        wrong["spec"]["preserveUnknownFields"] = True
        code, reason, message = await api.refused("POST", DEFINITIONS, wrong)
        assert (code, reason) == (422, "Invalid")
        for part in (
            'metadata.name: Invalid value: "other.example.com": must be spec.names.plural+"."+spec.group',
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.preserveUnknownFields: Invalid value: true",
        ):
            assert part in message


async def test_groups_of_the_community_need_approval() -> None:
    async with extended() as api:
        body = definition("things", "Thing", of(TEXT), group="things.k8s.io")
        _, _, message = await api.refused("POST", DEFINITIONS, body)
        assert "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have" in message
        body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/pull/1"}
        await api.json("POST", DEFINITIONS, body, expect=201)


def test_a_stored_version_must_stay() -> None:
    body = cron_tab() | {"status": {"storedVersions": ["v1", "v0"]}}
    assert "status.storedVersions[1]: Invalid value" in validate_definition(body, body)[0].text()


def named(name: str, **names: Any) -> Object:
    return definition(name, name.title(), of(TEXT), names={"singular": name, "listKind": name.title() + "List"} | names)


def test_names_are_given_once() -> None:
    first, second = named("a", shortNames=["x"]), named("b", shortNames=["x"], categories=["all"])
    first["status"] = pure.next_status(first, [first, second], "now")
    assert conditions(first) == {"NamesAccepted": "True", "Established": "True"}
    status = pure.next_status(second, [first, second], "now")
    assert status is not None
    assert status["acceptedNames"] == {
        "plural": "b",
        "singular": "b",
        "kind": "B",
        "listKind": "BList",
        "categories": ["all"],
    }
    assert status["conditions"][0]["reason"] == "ShortNamesConflict"
    assert conditions({"status": status})["Established"] == "False"


def test_a_status_that_holds_is_not_written_again() -> None:
    body = named("a")
    body["status"] = pure.next_status(body, [body], "then")
    assert pure.next_status(body, [body], "now") is None


def test_an_established_definition_stays_so() -> None:
    first, second = named("a"), named("b")
    for body in (first, second):
        body["status"] = pure.next_status(body, [first, second], "then")
    second["spec"]["names"]["shortNames"] = ["a"]
    status = pure.next_status(second, [first, second], "now")
    assert conditions({"status": status}) == {"NamesAccepted": "False", "Established": "True"}
