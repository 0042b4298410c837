"""Calls to the AWS API from asyncio, and plans of calls as data.

Reconcilers read AWS, a pure function turns the difference into `Step`s, and `apply` makes the calls. A step may use the
result of an earlier one (the ARN of a target group that does not exist yet): it then carries a `Ref`, filled in when
its time comes. botocore blocks, so every call runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class AwsClients(Protocol):
    """botocore clients of the cluster's account; made at first use, because each service's model is megabytes."""

    def client(self, service: str) -> Any: ...


class AwsError(Exception):
    """A call that AWS refused, e.g. code `TargetGroupNotFound`."""

    def __init__(self, code: str, message: str, operation: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.code = code
        self.message = message
        self.operation = operation


class Unbuildable(Exception):
    """What the object asks for cannot be made; the message goes into an event, and waits for a change."""


class Ref(NamedTuple):
    """Stands for an id that an earlier step of the same plan returns."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    service: str
    operation: str
    parameters: dict[str, Any]
    result: Ref | None = None
    """The name under which later steps find `path` of the response."""
    path: tuple[str | int, ...] = ()
    ignore: tuple[str, ...] = field(default=())
    """Error codes that mean it is already so."""


class Aws:
    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self._call, service, operation, parameters)

    def _call(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = getattr(self._clients.client(service), operation)(**parameters)
        except ClientError as error:
            refused = error.response.get("Error", {})
            raise AwsError(refused.get("Code", "Unknown"), refused.get("Message", str(error)), operation) from error
        except BotoCoreError as error:
            raise AwsError("RequestFailed", str(error), operation) from error
        return dict(response)

    async def listed(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """All pages of a Describe of EC2 (NextToken), ELB or ELBv2 (Marker)."""
        found: list[Any] = []
        while True:
            page = await self.call(service, operation, **parameters)
            found += page.get(key) or []
            if page.get("NextMarker"):
                parameters["Marker"] = page["NextMarker"]
            elif page.get("NextToken"):
                parameters["NextToken"] = page["NextToken"]
            else:
                return found

    async def apply(self, steps: Iterable[Step], known: dict[Ref, str] | None = None) -> dict[Ref, str]:
        """Makes the calls in order; returns every id that is known at the end."""
        results = dict(known or {})
        for step in steps:
            parameters = _filled(step.parameters, results)
            try:
                response: Any = await self.call(step.service, step.operation, **parameters)
            except AwsError as error:
                if error.code in step.ignore:
                    continue
                raise
            if step.result is not None:
                for part in step.path:
                    response = response[part]
                results[step.result] = str(response)
        return results


def _filled(value: Any, known: dict[Ref, str]) -> Any:
    if isinstance(value, Ref):
        return known[value]
    if isinstance(value, dict):
        return {key: _filled(entry, known) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(entry, known) for entry in value]
    return value


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def tag_dict(tags: Iterable[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in tags}
