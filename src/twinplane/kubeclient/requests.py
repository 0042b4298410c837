"""The methods of a `KubeClient` as requests: paths, queries and bodies, apart from how they travel.

`kubeclient.http` sends them over a socket, `controlplane.api.inprocess` hands them to a server in its process; both
inherit these methods and add the two that move bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from twinplane.kubeclient.contract import Object, ObjectList, PatchType, Resource, WatchEvent
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of

Query = dict[str, str]
"""Parameters; those with an empty value are not sent."""


class RequestClient(ABC):
    """Implements `KubeClient` over `_request` and `_stream`."""

    @abstractmethod
    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        wants_answer: bool = True,
    ) -> Object:
        """The JSON of the answer, or an empty object when nobody wants it. Raises `ApiError` for 400 and above."""

    @abstractmethod
    def _stream(self, path: str, query: Query) -> AsyncGenerator[bytes, None]:
        """The lines of a GET that goes on; closing the generator ends the request. Raises as `_request`."""

    # -- reads ---------------------------------------------------------------------------------------------------

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, query: Mapping[str, str] | None = None
    ) -> Object:
        return await self._request("GET", resource.path(namespace, name), dict(query or {}))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit) if limit else "",
            "continue": continue_,
            "resourceVersion": resource_version,
        }
        answer = await self._request("GET", resource.path(namespace), query)
        metadata = answer["metadata"]
        return ObjectList(answer.get("items") or [], metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        async with aclosing(self._events(resource.path(namespace), query)) as events:
            async for event in events:
                yield event

    async def _events(self, path: str, query: Query) -> AsyncGenerator[WatchEvent, None]:
        async with aclosing(self._stream(path, query)) as lines:
            async for line in lines:
                yield decoded(line)

    # -- writes --------------------------------------------------------------------------------------------------

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        namespace = namespace or (body.get("metadata") or {}).get("namespace")
        if resource.namespaced and not namespace:
            namespace = "default"
        typed = body if subresource else _typed(resource, body)
        return await self._request("POST", resource.path(namespace, name, subresource), body=typed)

    async def create_named(self, resource: Resource, body: Object, namespace: str | None = None) -> str:
        return name_of(await self.create(resource, body, namespace))

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        path = resource.path(namespace_of(body), name_of(body), subresource)
        return await self._request("PUT", path, body=body if subresource == "scale" else _typed(resource, body))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        patch_type: PatchType = "application/merge-patch+json",
        field_manager: str = "",
        force: bool = False,
        wants_answer: bool = True,
    ) -> Object:
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        path = resource.path(namespace, name, subresource)
        return await self._request("PATCH", path, query, body=patch, content_type=patch_type, wants_answer=wants_answer)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation_policy: str | None = None,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        wants_answer: bool = True,
    ) -> Object:
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if uid or resource_version:
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        return await self._request("DELETE", resource.path(namespace, name), body=options, wants_answer=wants_answer)

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        await self._request("DELETE", resource.path(namespace), query)


def decoded(line: bytes) -> WatchEvent:
    """A line of a watch. Raises `ApiError` for an ERROR event."""
    event = orjson.loads(line)
    if event["type"] == "ERROR":
        raise ApiError.from_status(event["object"], event["object"].get("code", 500))
    return WatchEvent(event["type"], event["object"])


def _typed(resource: Resource, body: Object) -> Object:
    """Objects out of lists carry no type, which a request body must."""
    return body if "kind" in body else {"apiVersion": resource.api_version, "kind": resource.kind, **body}
