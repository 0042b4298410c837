"""rest-json, the server's side, driven by botocore's model of EKS: routes, parameters, constraints, answers.

botocore ships the model that AWS publishes; nothing about single operations is written down here. Parsing checks what
the model declares (types, required members, lengths, ranges, patterns, enumerations), in the words of AWS's front end.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from twinplane.cloud.eks.errors import EksError, invalid_parameter
from twinplane.cloud.requests import AwsRequest, AwsResponse

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "timestamp": (int, float, str),
}


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    operation: Any


class Protocol:
    """`parse` a request into operation name and parameters; `serialize` a result into an answer."""

    def __init__(self, service_model: Any) -> None:
        self._model = service_model
        routes = [_route(service_model.operation_model(name)) for name in service_model.operation_names]
        # A literal path before one with labels in the same place.
        self._routes = sorted(routes, key=lambda route: route.pattern.pattern.count("(?P"))

    @staticmethod
    @functools.cache
    def of(service: str) -> Protocol:
        """Of a service by the name that botocore has for it: `eks`, `eks-auth`."""
        import botocore.session

        return Protocol(botocore.session.Session().get_service_model(service))

    @property
    def operations(self) -> list[str]:
        return list(self._model.operation_names)

    def parse(self, request: AwsRequest) -> tuple[str, dict[str, Any]]:
        """Operation name and its parameters by member name. Raises `EksError`."""
        path = request.path.rstrip("/") or "/"
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match and route.method == request.method:
                return route.operation.name, _parameters(route.operation, match, request)
        raise EksError("UnknownOperationException", f"Unable to find operation for {request.method} {request.path}")

    def serialize(self, operation: str, result: dict[str, Any]) -> AwsResponse:
        shape = self._model.operation_model(operation).output_shape
        return AwsResponse.json(_shaped(shape, result) if shape else {})


def error_response(error: EksError) -> AwsResponse:
    body = {**{name: value for name, value in error.members.items() if value}, "message": error.message}
    return AwsResponse.json(body, error.status, {"x-amzn-ErrorType": error.code})


def _route(operation: Any) -> _Route:
    uri = operation.http["requestUri"].split("?")[0]
    parts = re.split(r"(\{[^}]+\})", uri)
    pattern = "".join(
        f"(?P<{part[1:-1].rstrip('+')}>{'.+' if '+' in part else '[^/]+'})" if part.startswith("{") else re.escape(part)
        for part in parts
    )
    return _Route(operation.http["method"], re.compile(pattern), operation)


def _parameters(operation: Any, match: re.Match[str], request: AwsRequest) -> dict[str, Any]:
    shape = operation.input_shape
    if shape is None:
        return {}
    query, body = parse_qs(request.query, keep_blank_values=True), _body(request)
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        wire, location = member.serialization.get("name", name), member.serialization.get("location")
        if location == "uri":
            value: Any = unquote(match.group(wire))
        elif location == "querystring":
            value = _from_query(member, query.get(wire))
        else:
            value = body.get(wire)
        if value is not None:
            found[name] = value
    _check(shape, found, "")
    return found


def _body(request: AwsRequest) -> dict[str, Any]:
    if not request.body:
        return {}
    try:
        body = orjson.loads(request.body)
    except ValueError:
        raise EksError("SerializationException", "Unable to parse request body as JSON") from None
    if not isinstance(body, dict):
        raise EksError("SerializationException", "Unexpected value type in payload: expected an object")
    return body


def _from_query(member: Any, values: list[str] | None) -> Any:
    if values is None:
        return None
    if member.type_name == "list":
        return values
    value = values[-1]
    if member.type_name in ("integer", "long"):
        try:
            return int(value)
        except ValueError:
            raise EksError("SerializationException", f"{value} can not be converted to an Integer") from None
    if member.type_name == "boolean":
        return value.lower() == "true"
    return value


def _violation(value: Any, path: str, constraint: str) -> EksError:
    shown = "null" if value is None else f"'{value if isinstance(value, str) else json.dumps(value)}'"
    return invalid_parameter(
        f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint: Member must {constraint}"
    )


def _check(shape: Any, value: Any, path: str) -> None:
    kind = shape.type_name
    _check_type(kind, value, path)
    if kind == "structure":
        _check_structure(shape, value, path)
    elif kind == "list":
        _check_size(shape, value, len(value), path, "length")
        for index, item in enumerate(value):
            _check(shape.member, item, f"{path}.{index + 1}.member")
    elif kind == "map":
        _check_size(shape, value, len(value), path, "length")
        for key, item in value.items():
            _check(shape.key, key, f"{path}.{key}.key")
            _check(shape.value, item, f"{path}.{key}.member")
    elif kind == "string":
        _check_string(shape, value, path)
    elif kind in ("integer", "long", "double"):
        _check_size(shape, value, value, path, "value")


def _check_type(kind: str, value: Any, path: str) -> None:
    # A boolean is an integer to Python, but not to JSON.
    mistaken = isinstance(value, bool) and kind != "boolean"
    if mistaken or not isinstance(value, _TYPES.get(kind, (object,))):
        raise EksError("SerializationException", f"Unexpected value type for '{path}': expected {kind}")


def _check_structure(shape: Any, value: dict[str, Any], path: str) -> None:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            raise _violation(None, prefix + name, "not be null")
    for name, item in list(value.items()):
        if item is None:
            del value[name]
        elif name in shape.members:
            _check(shape.members[name], item, prefix + name)


def _check_size(shape: Any, value: Any, size: float, path: str, what: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        raise _violation(value, path, f"have {what} greater than or equal to {low}")
    if high is not None and size > high:
        raise _violation(value, path, f"have {what} less than or equal to {high}")


def _check_string(shape: Any, value: str, path: str) -> None:
    _check_size(shape, value, len(value), path, "length")
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value):
        raise _violation(value, path, f"satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        raise _violation(value, path, f"satisfy enum value set: [{', '.join(shape.enum)}]")


def _shaped(shape: Any, value: Any) -> Any:
    """`value` with only the members that the shape has: records may carry more than they show."""
    if shape.type_name == "structure":
        return {
            member.serialization.get("name", name): _shaped(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [_shaped(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: _shaped(shape.value, item) for key, item in value.items()}
    return value
