"""Validation of a CustomResourceDefinition beyond its names: schemas, defaults, columns, selectable fields, rules.

Called by the API server's validation of types for each create and update, after the definition was defaulted.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.extensions.customresources import definition as definitions
from twinplane.controlplane.api.extensions.customresources.checks import ROOT, compile_checks
from twinplane.controlplane.api.extensions.customresources.pruning import compile_pruning
from twinplane.controlplane.api.extensions.customresources.rule_validation import check_rules
from twinplane.controlplane.api.extensions.customresources.structural import (
    Errors,
    forbidden,
    invalid,
    required,
    unsupported,
    validate_structural,
)
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError
from twinplane.kubeclient.meta import copied

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MOST_SELECTABLE = 8
_PRESERVE = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
_SCALAR = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)


def validate_definition(body: Object, old: Object | None) -> Errors:
    errors: Errors = []
    spec = body.get("spec") or {}
    if spec.get("preserveUnknownFields"):
        errors.append(invalid("spec.preserveUnknownFields", True, _PRESERVE))
    _check_approval(body, old, errors)
    _check_conversion(spec.get("conversion") or {}, errors)
    unchanged = {version.get("name"): version for version in ((old or {}).get("spec") or {}).get("versions") or ()}
    for index, version in enumerate(spec.get("versions") or ()):
        if unchanged.get(version.get("name")) != version:
            _check_version(version, f"spec.versions[{index}]", errors)
    _check_stored_versions(body, errors)
    return errors


def _check_approval(body: Object, old: Object | None, errors: Errors) -> None:
    group = (body.get("spec") or {}).get("group", "")
    if old is not None or not definitions.is_protected(group):
        return
    link = definitions.APPROVAL_LINK
    given = (body["metadata"].get("annotations") or {}).get(definitions.APPROVAL, "")
    at = f"metadata.annotations[{definitions.APPROVAL}]"
    if not given:
        detail = f'protected groups must have approval annotation "{definitions.APPROVAL}", see {link}'
        errors.append(required(at, detail))
    elif "://" not in given and not given.startswith("unapproved"):
        detail = (
            f'protected groups must have approval annotation "{definitions.APPROVAL}" with either a URL or a reason '
            f'starting with "unapproved", see {link}'
        )
        errors.append(invalid(at, given, detail))


def _check_conversion(conversion: Raw, errors: Errors) -> None:
    strategy, webhook = conversion.get("strategy", "None"), conversion.get("webhook")
    at = "spec.conversion"
    if strategy not in ("None", "Webhook"):
        errors.append(unsupported(f"{at}.strategy", strategy, ("None", "Webhook")))
    elif strategy == "None" and webhook is not None:
        errors.append(forbidden(f"{at}.webhook", "should not be set when strategy is not set to Webhook"))
    elif strategy == "Webhook":
        client = (webhook or {}).get("clientConfig")
        if client is None:
            detail = "required when strategy is set to Webhook"
            errors.append(required(f"{at}.webhookClientConfig", detail))
        elif ("url" in client) == ("service" in client):
            detail = "exactly one of url or service is required"
            errors.append(required(f"{at}.webhookClientConfig", detail))
        reviews = (webhook or {}).get("conversionReviewVersions") or ()
        if not reviews:
            errors.append(required(f"{at}.conversionReviewVersions", ""))
        elif not {"v1", "v1beta1"} & set(reviews):
            detail = "must include at least one of v1, v1beta1"
            errors.append(invalid(f"{at}.conversionReviewVersions", list(reviews), detail))


def _check_version(version: Raw, path: str, errors: Errors) -> None:
    warning = version.get("deprecationWarning")
    if warning is not None and not version.get("deprecated"):
        detail = "can only be set for deprecated versions"
        errors.append(invalid(f"{path}.deprecationWarning", warning, detail))
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if isinstance(schema, dict):
        at = f"{path}.schema.openAPIV3Schema"
        before = len(errors)
        validate_structural(schema, at, errors)
        if len(errors) == before:
            _check_defaults(schema, at, errors)
            check_rules(schema, at, errors)
        _check_selectable(version, schema, path, errors)
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        _check_column(column, f"{path}.additionalPrinterColumns[{index}]", errors)
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        _check_scale(scale, f"{path}.subresources.scale", errors)


def _check_column(column: Raw, path: str, errors: Errors) -> None:
    if not column.get("name"):
        errors.append(required(f"{path}.name", ""))
    kind, form = column.get("type", ""), column.get("format", "")
    if not kind:
        errors.append(required(f"{path}.type", "must be one of " + ",".join(_COLUMN_TYPES)))
    elif kind not in _COLUMN_TYPES:
        errors.append(invalid(f"{path}.type", kind, "must be one of " + ",".join(_COLUMN_TYPES)))
    if form and form not in _COLUMN_FORMATS:
        errors.append(invalid(f"{path}.format", form, "must be one of " + ",".join(_COLUMN_FORMATS)))
    _check_path(column.get("jsonPath", ""), f"{path}.jsonPath", errors)


def _check_path(text: str, path: str, errors: Errors, below: str = "") -> None:
    if not text:
        errors.append(required(path, ""))
    elif not text.startswith("."):
        errors.append(invalid(path, text, "must be a simple json path starting with ."))
    elif below and not text.startswith(f".{below}."):
        errors.append(invalid(path, text, f"should be a json path under .{below}"))


def _check_scale(scale: Raw, path: str, errors: Errors) -> None:
    _check_path(scale.get("specReplicasPath", ""), f"{path}.specReplicasPath", errors, "spec")
    _check_path(scale.get("statusReplicasPath", ""), f"{path}.statusReplicasPath", errors, "status")
    if scale.get("labelSelectorPath"):
        text = scale["labelSelectorPath"]
        at = f"{path}.labelSelectorPath"
        if not text.startswith("."):
            errors.append(invalid(at, text, "must be a simple json path starting with ."))
        elif not text.startswith((".spec.", ".status.")):
            errors.append(invalid(at, text, "should be a json path under either .status or .spec"))


def _check_selectable(version: Raw, schema: Raw, path: str, errors: Errors) -> None:
    fields = version.get("selectableFields") or ()
    at = f"{path}.selectableFields"
    if len(fields) > _MOST_SELECTABLE:
        detail = f"{len(fields)}: must have at most {_MOST_SELECTABLE} items"
        errors.append(FieldError("FieldValueTooMany", at, detail, len(fields)))
    seen: set[str] = set()
    for index, entry in enumerate(fields):
        text, where = entry.get("jsonPath", ""), f"{at}[{index}].jsonPath"
        if not text:
            errors.append(required(where, ""))
            continue
        if text in seen:
            errors.append(FieldError("FieldValueDuplicate", where, "", text))
        seen.add(text)
        problem = _selectable_problem(text, schema)
        if problem:
            errors.append(invalid(where, text, problem))


def _selectable_problem(text: str, schema: Raw) -> str:
    if "[" in text:
        return "is an invalid path: array notation is not allowed"
    if not text.startswith("."):
        return f"is an invalid path: expected [ or . but got: {text}"
    if text == ".metadata" or text.startswith(".metadata."):
        return "must not point to fields in metadata"
    node: Any = schema
    for name in text[1:].split("."):
        node = (node.get("properties") or {}).get(name) if isinstance(node, dict) else None
    if node is None:
        return "is an invalid path: does not refer to a valid field"
    return "" if node.get("type") in ("string", "boolean", "integer") else _SCALAR


def _check_defaults(schema: Raw, path: str, errors: Errors) -> None:
    value = schema.get("default")
    if value is not None:
        pruned = copied(value)
        prune = compile_pruning(schema)
        if prune is not None:
            prune(pruned, "", None)
        if pruned != value:
            errors.append(invalid(f"{path}.default", value, "must not have unknown fields"))
        found: Errors = []
        compile_checks(schema)(value, MISSING, "", found)
        for error in found:
            error.path = f"{path}.default" if error.path == ROOT else f"{path}.default.{error.path}"
        errors += found
    for name, child in (schema.get("properties") or {}).items():
        _check_defaults(child, f"{path}.properties[{name}]", errors)
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            _check_defaults(schema[key], f"{path}.{key}", errors)


def _check_stored_versions(body: Object, errors: Errors) -> None:
    stored = (body.get("status") or {}).get("storedVersions") or ()
    names = [version.get("name") for version in (body.get("spec") or {}).get("versions") or ()]
    for index, name in enumerate(stored):
        if name not in names:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            errors.append(invalid(f"status.storedVersions[{index}]", name, detail))
