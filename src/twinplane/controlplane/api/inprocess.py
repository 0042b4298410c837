"""`KubeClient` without sockets: the same requests, handed straight to the server. For what runs in its process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from twinplane.controlplane.api.contract import Handler, Request, Response
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object, ObjectList, PatchType, Resource, WatchEvent
from twinplane.kubeclient.errors import ApiError


class InProcessClient:
    """Acts as `user`, who passes authorization and admission like everybody else. `agent` names the field manager."""

    def __init__(self, server: Handler, user: UserInfo, agent: str = "twinplane") -> None:
        self._server = server
        self._user = user
        self._agent = agent

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Response:
        """Raises `ApiError` for an answer of 400 and above."""
        query = query or {}
        request = Request(
            method,
            path,
            query,
            {"user-agent": self._agent, "content-type": content_type},
            b"" if body is None else orjson.dumps(body),
            user=self._user,
            queries={name: [value] for name, value in query.items()},
        )
        response = await self._server.handle(request)
        if response.status >= 400:
            raise ApiError.from_status(orjson.loads(response.body), response.status)
        return response

    async def _object(self, *arguments: Any, **named: Any) -> Object:
        found: Object = orjson.loads((await self._send(*arguments, **named)).body)
        return found

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._object("GET", resource.path(namespace, name))

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
        query = _given(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit or ""),
            resourceVersion=resource_version,
            **{"continue": continue_},
        )
        found = await self._object("GET", resource.path(namespace), query)
        metadata = found["metadata"]
        return ObjectList(found.get("items") or [], metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        query = _given(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        response = await self._send("GET", resource.path(namespace), query)
        stream = response.stream
        assert stream is not None
        try:
            async for piece in stream:
                for line in piece.splitlines():
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"], 500)
                    yield WatchEvent(event["type"], event["object"])
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

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
        return await self._object("POST", resource.path(namespace, name, subresource), None, body)

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._object("PUT", path, None, body)

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
    ) -> Object:
        query = _given(fieldManager=field_manager, force="true" if force else "")
        return await self._object("PATCH", resource.path(namespace, name, subresource), query, patch, patch_type)

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
    ) -> Object:
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "propagationPolicy": propagation_policy,
            "gracePeriodSeconds": grace_period_seconds,
            "preconditions": {key: value for key, value in preconditions.items() if value is not None} or None,
        }
        body = {key: value for key, value in options.items() if value is not None}
        return await self._object("DELETE", resource.path(namespace, name), None, body or None)

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = _given(labelSelector=label_selector, fieldSelector=field_selector)
        await self._send("DELETE", resource.path(namespace), query)


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
