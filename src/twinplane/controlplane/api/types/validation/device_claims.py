"""ResourceClaims, their templates, and DeviceClasses; `device_status` has what others write into claims.

Upstream: kubernetes/pkg/apis/resource/validation. Schedulers, controllers and drivers may rely on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import orjson

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.device_slices import (
    at_most,
    attribute_name,
    distinct,
    driver_name,
    label,
)
from twinplane.controlplane.api.types.validation.fields import (
    Errors,
    invalid,
    required,
    too_long,
)

Spec = dict[str, Any]
REQUESTS_MAX = CONSTRAINTS_MAX = CONFIG_MAX = SELECTORS_MAX = 32
ALTERNATIVES_MAX = 8
EXPRESSION_MAX = PARAMETERS_MAX = 10 * 1024
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_DEVICE = {
    "device.driver": "string",
    "device.allowMultipleAllocations": "bool",
    "device.attributes": "map(string, map(string, dyn))",
    "device.capacity": "map(string, map(string, dyn))",
}
"""What is known of the types of a device's fields."""

RequestNames = Mapping[str, Collection[str]]
"""Request -> its alternatives."""


def device_claim(claim: Spec, path: str, context: Context) -> None:
    if context.old is not None:
        # It may not be changed, and nothing else is said of it.
        return
    errors, known = context.errors, request_names(claim)
    requests = claim.get("requests") or ()
    if at_most(requests, REQUESTS_MAX, f"{path}.requests", errors):
        for index, request in enumerate(requests):
            _request(request, f"{path}.requests[{index}]", errors)
        distinct([request.get("name") or "" for request in requests], f"{path}.requests", errors)
    constraints = claim.get("constraints") or ()
    if at_most(constraints, CONSTRAINTS_MAX, f"{path}.constraints", errors):
        for index, constraint in enumerate(constraints):
            _constraint(constraint, f"{path}.constraints[{index}]", known, errors)
    config = claim.get("config") or ()
    if at_most(config, CONFIG_MAX, f"{path}.config", errors):
        for index, entry in enumerate(config):
            references(entry.get("requests") or (), f"{path}.config[{index}].requests", known, errors)
            configuration(entry, f"{path}.config[{index}]", errors)


def request_names(claim: Spec) -> RequestNames:
    return {
        request.get("name") or "": {entry.get("name") for entry in request.get("firstAvailable") or ()}
        for request in claim.get("requests") or ()
    }


def _request(request: Spec, path: str, errors: Errors) -> None:
    label(request.get("name") or "", f"{path}.name", errors)
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    if exactly is None and not alternatives:
        errors.append(required(path, _ONE_OF))
    elif exactly is not None and alternatives:
        errors.append(invalid(path, None, f"{_ONE_OF}, but multiple fields are set"))
    elif exactly is not None:
        _wanted(exactly, f"{path}.exactly", errors)
    elif at_most(alternatives, ALTERNATIVES_MAX, f"{path}.firstAvailable", errors):
        for index, wanted in enumerate(alternatives):
            label(wanted.get("name") or "", f"{path}.firstAvailable[{index}].name", errors)
            _wanted(wanted, f"{path}.firstAvailable[{index}]", errors)
        distinct([wanted.get("name") or "" for wanted in alternatives], f"{path}.firstAvailable", errors)


def _wanted(wanted: Spec, path: str, errors: Errors) -> None:
    """Of a request without alternatives, or of one of these."""
    name, count = wanted.get("deviceClassName") or "", wanted.get("count") or 0
    if errors.need(f"{path}.deviceClassName", name):
        errors.texts(f"{path}.deviceClassName", name, names.dns_subdomain(name))
    selectors(wanted.get("selectors") or (), f"{path}.selectors", errors)
    if wanted.get("allocationMode") == "All" and count:
        errors.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif wanted.get("allocationMode") == "ExactCount" and count <= 0:
        errors.append(invalid(f"{path}.count", count, "must be greater than zero"))


def selectors(found: Any, path: str, errors: Errors) -> None:
    if not at_most(found, SELECTORS_MAX, path, errors):
        return
    for index, selector in enumerate(found):
        cel, at = selector.get("cel"), f"{path}[{index}].cel"
        if cel is None:
            errors.append(required(at))
            continue
        text = cel.get("expression") or ""
        if len(text) > EXPRESSION_MAX:
            errors.append(too_long(f"{at}.expression", EXPRESSION_MAX))
        elif problem := _wrong_expression(text):
            errors.append(invalid(f"{at}.expression", text, problem))


@lru_cache(1024)
def _wrong_expression(text: str) -> str:
    # The C++ implementation is loaded with the first selector: most clusters have none.
    from twinplane.controlplane.cel import CompileError, compile_expression

    try:
        found = compile_expression(text, {"device": "dyn"}).result_type
    except CompileError as error:
        return f"compilation failed: {error}"
    if found == "dyn":
        # With types of their own the fields may say more; `device` as a whole is then no variable.
        with suppress(CompileError):
            found = compile_expression(text, _DEVICE).result_type
    return "" if found in ("bool", "dyn") else f"must evaluate to bool or the unknown type, not {found}"


def _constraint(constraint: Spec, path: str, known: RequestNames, errors: Errors) -> None:
    references(constraint.get("requests") or (), f"{path}.requests", known, errors)
    for field in ("matchAttribute", "distinctAttribute"):
        name = constraint.get(field)
        if name is not None:
            attribute_name(name, f"{path}.{field}", errors)
            if "/" not in name:
                detail = "a fully qualified name must be a domain and a name separated by a slash"
                errors.append(invalid(f"{path}.{field}", name, detail))
            return
    detail = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    errors.append(required(path, detail))


def references(found: Any, path: str, known: RequestNames, errors: Errors) -> None:
    if at_most(found, REQUESTS_MAX, path, errors):
        for index, name in enumerate(found):
            reference(name, f"{path}[{index}]", known, errors)
        distinct(found, path, errors)


def reference(name: str, path: str, known: RequestNames, errors: Errors) -> None:
    request, *rest = name.split("/")
    if len(rest) > 1:
        errors.append(invalid(path, name, _REFERENCE))
        return
    for part in (request, *rest):
        label(part, path, errors)
    if request not in known or any(part not in known[request] for part in rest):
        errors.append(invalid(path, name, _REFERENCE))


def configuration(entry: Spec, path: str, errors: Errors) -> None:
    opaque, at = entry.get("opaque"), f"{path}.opaque"
    if opaque is None:
        errors.append(required(at))
        return
    driver_name(opaque.get("driver") or "", f"{at}.driver", errors)
    raw_object(opaque.get("parameters"), f"{at}.parameters", errors)


def raw_object(value: Any, path: str, errors: Errors) -> None:
    """What only a driver understands."""
    if value is None:
        errors.append(required(path))
    elif len(orjson.dumps(value)) > PARAMETERS_MAX:
        errors.append(too_long(path, PARAMETERS_MAX))
    elif not isinstance(value, dict):
        errors.append(invalid(path, "<value omitted>", "must be a valid JSON object"))


def device_class_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    selectors(spec.get("selectors") or (), f"{path}.selectors", errors)
    config = spec.get("config") or ()
    if at_most(config, CONFIG_MAX, f"{path}.config", errors):
        for index, entry in enumerate(config):
            configuration(entry, f"{path}.config[{index}]", errors)
    name = spec.get("extendedResourceName")
    if name is not None and not _is_extended(name):
        errors.append(invalid(f"{path}.extendedResourceName", name, "must be a valid extended resource name"))


def _is_extended(name: str) -> bool:
    native = "/" not in name or "kubernetes.io/" in name
    return not native and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


VALIDATORS: dict[str, Visitor] = {
    "resource.v1.DeviceClaim": device_claim,
    "resource.v1.DeviceClassSpec": device_class_spec,
}
