"""An AWS request and its answer as endpoint and adapter pass them, and what can be told from a request alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import orjson


@dataclass(frozen=True, slots=True)
class AwsRequest:
    method: str
    path: str
    """Raw, still percent-encoded."""
    query: str
    headers: tuple[tuple[str, str], ...]
    """As they came, in order."""
    body: bytes
    service: str = ""
    """Signing name, e.g. `ec2`; the endpoint finds it."""
    access_key_id: str = ""

    def header(self, name: str) -> str:
        lowered = name.lower()
        return next((value for key, value in self.headers if key.lower() == lowered), "")


@dataclass(frozen=True, slots=True)
class AwsResponse:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @staticmethod
    def json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> AwsResponse:
        return AwsResponse(
            status,
            (("Content-Type", "application/json"), *(headers or {}).items()),
            orjson.dumps(value),
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """`action` is empty for REST services, whose method and path say what they do."""

    action: str = ""
    version: str = ""
    protocol: str = "query"
    """query (XML), json (X-Amz-Target) or rest."""
    parameters: Mapping[str, list[str]] = field(default_factory=dict)


def operation_of(request: AwsRequest) -> Operation:
    target = request.header("x-amz-target")
    if target:
        return Operation(target.rpartition(".")[2], protocol="json")
    if "smithy-protocol" in {name.lower() for name, _ in request.headers}:
        return Operation(request.path.rpartition("/")[2], protocol="json")
    parameters = parse_qs(request.query, keep_blank_values=True)
    if request.header("content-type").startswith("application/x-www-form-urlencoded"):
        parameters |= parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    action = parameters.get("Action", [""])[0]
    if action:
        return Operation(action, parameters.get("Version", [""])[0], "query", parameters)
    return Operation(protocol="rest", parameters=parameters)


_READS = ("Describe", "List", "Get", "Head", "Lookup", "Search", "BatchGet", "Query", "Scan", "Simulate", "Decode")


def is_read_only(request: AwsRequest, operation: Operation) -> bool:
    """True when the request cannot change the account, so that nothing needs to be saved before its answer."""
    if operation.action:
        return operation.action.startswith(_READS)
    return request.method in ("GET", "HEAD", "OPTIONS")
