"""Is a schema structural? The rules of k8s.io/apiextensions-apiserver pkg/apiserver/schema, in its words.

Called when a CustomResourceDefinition is validated, once for each version.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.extensions.customresources.values import Raw
from twinplane.controlplane.cel.regular_expressions import BadPattern, compile_pattern
from twinplane.kubeclient.errors import FieldError

Errors = list[FieldError]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
}
"""What a schema below allOf, anyOf, oneOf or not may not say."""
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNIQUE = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"


def required(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueRequired", path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, detail, value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, detail)


def unsupported(path: str, value: Any, choices: tuple[str, ...]) -> FieldError:
    shown = ", ".join(f'"{choice}"' for choice in choices)
    return FieldError("FieldValueNotSupported", path, f"supported values: {shown}", value)


def validate_structural(schema: Raw, path: str, errors: Errors, level: str = "root") -> None:
    _check_supported(schema, path, errors)
    _check_type(schema, path, errors, level)
    _check_extensions(schema, path, errors)
    _check_list(schema, path, errors)
    _check_metadata(schema, path, errors, level)
    _check_nested(schema, path, errors)
    _check_completeness(schema, schema, path, errors)
    for name, child in (schema.get("properties") or {}).items():
        validate_structural(child, f"{path}.properties[{name}]", errors, "field")
    additional, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(additional, dict):
        validate_structural(additional, f"{path}.additionalProperties", errors, "field")
    if isinstance(items, dict):
        validate_structural(items, f"{path}.items", errors, "item")


def _check_supported(schema: Raw, path: str, errors: Errors) -> None:
    for name in _UNSUPPORTED:
        if schema.get(name):
            errors.append(forbidden(f"{path}.{name}", f"{name} is not supported"))
    if isinstance(schema.get("items"), list):
        errors.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if schema.get("uniqueItems"):
        errors.append(forbidden(f"{path}.uniqueItems", _UNIQUE))
    if schema.get("additionalProperties") is False:
        errors.append(forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    if schema.get("additionalProperties") and schema.get("properties"):
        detail = "additionalProperties and properties are mutual exclusive"
        errors.append(forbidden(f"{path}.additionalProperties", detail))
    pattern = schema.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except BadPattern as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            errors.append(invalid(f"{path}.pattern", pattern, detail))


def _check_type(schema: Raw, path: str, errors: Errors, level: str) -> None:
    kind, at = schema.get("type", ""), f"{path}.type"
    embedded = schema.get("x-kubernetes-embedded-resource")
    if kind == "null":
        errors.append(forbidden(at, "type cannot be set to null"))
    elif kind and kind not in _TYPES:
        errors.append(unsupported(at, kind, _TYPES))
    if kind == "array" and not schema.get("items"):
        errors.append(required(f"{path}.items", "must be specified"))
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        errors.append(invalid(at, kind, detail) if kind else required(at, detail))
    elif not kind and not free:
        errors.append(required(at, _EMPTY_TYPE[level]))
    if level == "root":
        if kind and kind != "object":
            errors.append(invalid(at, kind, "must be object at the root"))
        if schema.get("additionalProperties"):
            errors.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))


def _check_extensions(schema: Raw, path: str, errors: Errors) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        for name in ("preserve-unknown-fields", "embedded-resource"):
            if schema.get(f"x-kubernetes-{name}"):
                detail = "must be false if x-kubernetes-int-or-string is true"
                errors.append(invalid(f"{path}.x-kubernetes-{name}", True, detail))
    preserve = schema.get("x-kubernetes-preserve-unknown-fields")
    if preserve is False:
        detail = "must be true or undefined"
        errors.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, detail))
    if schema.get("x-kubernetes-embedded-resource"):
        if schema.get("additionalProperties"):
            detail = "must not be used if x-kubernetes-embedded-resource is set"
            errors.append(forbidden(f"{path}.additionalProperties", detail))
        if not preserve and not schema.get("properties"):
            detail = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            errors.append(required(f"{path}.properties", detail))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if schema.get("type") != "object":
            detail = "must be object if x-kubernetes-map-type is specified"
            errors.append(invalid(f"{path}.type", schema.get("type", ""), detail))
        if map_type not in ("atomic", "granular"):
            errors.append(unsupported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))


def _check_list(schema: Raw, path: str, errors: Errors) -> None:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind is None:
        if keys:
            at = f"{path}.x-kubernetes-list-type"
            errors.append(required(at, "must be map if x-kubernetes-list-map-keys is non-empty"))
        return
    if schema.get("type") != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        errors.append(invalid(f"{path}.type", schema.get("type", ""), detail))
    if kind not in ("atomic", "set", "map"):
        errors.append(unsupported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "set", "map")))
    items = schema.get("items") if isinstance(schema.get("items"), dict) else None
    if keys and kind != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        errors.append(invalid(f"{path}.x-kubernetes-list-type", kind, detail))
    if kind == "map":
        _check_list_map(items, keys, path, errors)
    if kind == "set" and items is not None:
        if items.get("nullable"):
            errors.append(forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set"))
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
            errors.append(invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), detail))


def _check_list_map(items: Raw | None, keys: list[str], path: str, errors: Errors) -> None:
    if not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        errors.append(required(f"{path}.x-kubernetes-list-map-keys", detail))
    if items is None:
        errors.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        errors.append(invalid(f"{path}.items.type", items.get("type", ""), detail))
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        child = properties.get(key)
        if child is None:
            detail = "entries must all be names of item properties"
            errors.append(invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, detail))
        elif key not in (items.get("required") or ()) and "default" not in child:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            errors.append(required(f"{path}.items.properties[{key}].default", detail))


def _check_metadata(schema: Raw, path: str, errors: Errors, level: str) -> None:
    if level != "root" and not schema.get("x-kubernetes-embedded-resource"):
        return
    properties = schema.get("properties") or {}
    for name in ("apiVersion", "kind"):
        child = properties.get(name)
        if child is not None and child.get("type") != "string":
            errors.append(invalid(f"{path}.properties[{name}].type", child.get("type", ""), "must be string"))
    metadata = properties.get("metadata")
    if metadata is None:
        return
    at = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        errors.append(invalid(f"{at}.type", metadata.get("type", ""), "must be object"))
    if level == "root":
        more = set(metadata) - {"type", "properties", "description"}
        if more or set(metadata.get("properties") or ()) - {"name", "generateName"}:
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden(at, detail))


def _check_nested(schema: Raw, path: str, errors: Errors) -> None:
    free = bool(schema.get("x-kubernetes-int-or-string"))
    for junctor in _JUNCTORS:
        parts = schema.get(junctor) or ()
        if junctor == "anyOf" and free and parts == _INT_OR_STRING:
            continue
        for index, part in enumerate(parts):
            skips = junctor == "allOf" and index == 0 and free and part.get("anyOf") == _INT_OR_STRING
            _check_part({**part, "anyOf": []} if skips else part, f"{path}.{junctor}[{index}]", errors)
    if isinstance(schema.get("not"), dict):
        _check_part(schema["not"], f"{path}.not", errors)


def _check_part(part: Raw, path: str, errors: Errors) -> None:
    errors.extend(forbidden(f"{path}.{name}", detail) for name, detail in _NESTED.items() if part.get(name))
    if part.get("x-kubernetes-validations"):
        errors.append(forbidden(f"{path}.x-kubernetes-validations", "must be empty to be structural"))
    for name, child in (part.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if name == "metadata":
            errors.append(forbidden(at, "must not be specified in a nested context"))
        _check_part(child, at, errors)
    if isinstance(part.get("items"), dict):
        _check_part(part["items"], f"{path}.items", errors)
    _check_nested(part, path, errors)


def _check_completeness(schema: Raw, spine: Raw, path: str, errors: Errors) -> None:
    """Whatever a junctor speaks of must be specified outside of it, too."""
    parts = [
        (f"{path}.{junctor}[{index}]", part)
        for junctor in _JUNCTORS
        for index, part in enumerate(schema.get(junctor) or ())
    ]
    if isinstance(schema.get("not"), dict):
        parts.append((f"{path}.not", schema["not"]))
    root = (
        path.split(".allOf", maxsplit=1)[0]
        .split(".anyOf", maxsplit=1)[0]
        .split(".oneOf", maxsplit=1)[0]
        .split(".not", maxsplit=1)[0]
    )
    for at, part in parts:
        _complete(part, spine, at, root, errors)


def _complete(part: Raw, spine: Raw, path: str, spine_path: str, errors: Errors) -> None:
    properties = spine.get("properties") or {}
    for name, child in (part.get("properties") or {}).items():
        known = properties.get(name)
        at = f"{spine_path}.properties[{name}]"
        if known is None:
            detail = f"because it is defined in {path}.properties[{name}]"
            errors.append(required(at, detail))
        else:
            _complete(child, known, f"{path}.properties[{name}]", at, errors)
    items = part.get("items")
    if isinstance(items, dict):
        known = spine.get("items")
        if not isinstance(known, dict):
            errors.append(required(f"{spine_path}.items", f"because it is defined in {path}.items"))
        else:
            _complete(items, known, f"{path}.items", f"{spine_path}.items", errors)
    _check_completeness(part, spine, path, errors)
