"""ResourceClaims, their templates and statuses, and DeviceClasses.

Upstream: kubernetes/pkg/apis/resource/validation. Schedulers, controllers and drivers may rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import orjson

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.device_slices import (
    at_most,
    attribute_name,
    binding_conditions,
    distinct,
    driver_name,
    label,
    pool_name,
)
from twinplane.controlplane.api.types.validation.fields import (
    Errors,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import results_of

Spec = dict[str, Any]
REQUESTS_MAX = CONSTRAINTS_MAX = CONFIG_MAX = SELECTORS_MAX = RESULTS_MAX = 32
ALTERNATIVES_MAX = 8
CONSUMERS_MAX = 256
EXPRESSION_MAX = PARAMETERS_MAX = 10 * 1024
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch

RequestNames = Mapping[str, Collection[str]]
"""Request -> its alternatives."""


def device_claim(claim: Spec, path: str, context: Context) -> None:
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
            _references(entry.get("requests") or (), f"{path}.config[{index}].requests", known, errors)
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
        elif problem := _does_not_compile(text):
            errors.append(invalid(f"{at}.expression", text, f"compilation failed: {problem}"))


@lru_cache(1024)
def _does_not_compile(text: str) -> str:
    # The C++ implementation is loaded with the first selector: most clusters have none.
    from twinplane.controlplane.cel import CompileError, compile_expression

    try:
        compile_expression(text, {"device": "dyn"})
    except CompileError as error:
        return str(error)
    return ""


def _constraint(constraint: Spec, path: str, known: RequestNames, errors: Errors) -> None:
    _references(constraint.get("requests") or (), f"{path}.requests", known, errors)
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


def _references(found: Any, path: str, known: RequestNames, errors: Errors) -> None:
    if at_most(found, REQUESTS_MAX, path, errors):
        for index, name in enumerate(found):
            _reference(name, f"{path}[{index}]", known, errors)
        distinct(found, path, errors)


def _reference(name: str, path: str, known: RequestNames, errors: Errors) -> None:
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
    parameters = opaque.get("parameters")
    if parameters is None:
        errors.append(required(f"{at}.parameters"))
    elif not isinstance(parameters, dict):
        errors.append(invalid(f"{at}.parameters", "<value omitted>", "must be a valid JSON object"))
    elif len(orjson.dumps(parameters)) > PARAMETERS_MAX:
        errors.append(too_long(f"{at}.parameters", PARAMETERS_MAX))


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


# What is written by schedulers and drivers --------------------------------------------------------------------------


def claim_status(body: Object, old: Object, errors: Errors) -> None:
    """Of an update of `status`."""
    status, before = body.get("status") or {}, old.get("status") or {}
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    if at_most(reserved, CONSUMERS_MAX, "status.reservedFor", errors):
        for index, entry in enumerate(reserved):
            for field in ("resource", "name", "uid"):
                errors.need(f"status.reservedFor[{index}].{field}", entry.get(field))
        distinct([entry.get("uid") or "" for entry in reserved], "status.reservedFor", errors)
    if reserved and allocation is None:
        errors.append(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    elif "deletionTimestamp" in body["metadata"] and any(
        entry not in (before.get("reservedFor") or ()) for entry in reserved
    ):
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(forbidden("status.reservedFor", detail))
    if allocation is not None and before.get("allocation") is not None:
        errors.unchanged("status.allocation", allocation, before["allocation"])
    elif allocation is not None:
        _allocation(allocation, request_names((body.get("spec") or {}).get("devices") or {}), errors)
    _described(status.get("devices") or (), {_identity(result) for result in results_of(body)}, errors)


def _allocation(allocation: Spec, known: RequestNames, errors: Errors) -> None:
    devices, path = allocation.get("devices") or {}, "status.allocation.devices"
    results = devices.get("results") or ()
    if at_most(results, RESULTS_MAX, f"{path}.results", errors):
        for index, result in enumerate(results):
            at = f"{path}.results[{index}]"
            _reference(result.get("request") or "", f"{at}.request", known, errors)
            _identified(result, at, errors)
            binding_conditions(result, at, errors)
    config = devices.get("config") or ()
    if at_most(config, 2 * CONFIG_MAX, f"{path}.config", errors):
        for index, entry in enumerate(config):
            at = f"{path}.config[{index}]"
            source = entry.get("source")
            if errors.need(f"{at}.source", source) and source not in ("FromClaim", "FromClass"):
                errors.append(unsupported(f"{at}.source", source, ("FromClaim", "FromClass")))
            _references(entry.get("requests") or (), f"{at}.requests", known, errors)
            configuration(entry, at, errors)


def _identified(entry: Spec, path: str, errors: Errors) -> None:
    driver_name(entry.get("driver") or "", f"{path}.driver", errors)
    pool_name(entry.get("pool") or "", f"{path}.pool", errors)
    label(entry.get("device") or "", f"{path}.device", errors)
    share = entry.get("shareID")
    if share is not None and not _UID(share):
        detail = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
            "hexadecimal characters"
        )
        errors.append(invalid(f"{path}.shareID", share, detail))


def _described(devices: Any, allocated: Collection[str], errors: Errors) -> None:
    for index, entry in enumerate(devices):
        path = f"status.devices[{index}]"
        _identified(entry, path, errors)
        if _identity(entry) not in allocated:
            errors.append(invalid(path, _identity(entry), "must be an allocated device in the claim"))
    distinct([_identity(entry) for entry in devices], "status.devices", errors)


def _identity(entry: Mapping[str, Any]) -> str:
    return "/".join(entry[field] for field in ("driver", "pool", "device", "shareID") if entry.get(field))


VALIDATORS: dict[str, Visitor] = {
    "resource.v1.DeviceClaim": device_claim,
    "resource.v1.DeviceClassSpec": device_class_spec,
}
