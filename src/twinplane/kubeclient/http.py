"""A `KubeClient` over HTTP: any API server, ours or upstream's.

Used wherever the API server is in another process. One connection pool, a bound on requests in flight (watches do not
count: they are as many as their owners hold), errors as `ApiError`, and `ConnectionError` when there was no answer.
Repeating and reconnecting is left to the caller, which knows whether a request may be repeated. aiohttp is imported on
entry: it costs a tenth of a second that processes with an in-process client do not have to pay.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from twinplane.kubeclient.contract import Object, ObjectList, PatchType, Resource, WatchEvent
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

TokenSource = Callable[[], Awaitable[str]]
"""Gives a bearer token that is valid now; caching is its own business."""

IN_FLIGHT_MAX = 64
REQUEST_SECONDS = 60.0
ERROR_TEXT_MAX = 1024


class HttpClient:
    """`async with HttpClient(url, ssl_context, token_source) as client`.

    A client certificate travels in `ssl_context` (`load_cert_chain`); `url` may carry a path prefix.
    """

    def __init__(
        self,
        url: str,
        ssl_context: ssl.SSLContext | None = None,
        token_source: TokenSource | None = None,
        *,
        user_agent: str = "twinplane",
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        self._url = url.rstrip("/")
        self._ssl = ssl_context
        self._token_source = token_source
        self._user_agent = user_agent
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._open: ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl if self._ssl is not None else True)
        # Compression costs more than it saves on loopback.
        headers = {"User-Agent": self._user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        self._open = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    # -- reads ---------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._request("GET", resource.path(namespace, name))

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
        async with self._answer("GET", resource.path(namespace), query) as response:
            async for line in _lines(response):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError.from_status(event["object"], event["object"].get("code", 500))
                yield WatchEvent(event["type"], event["object"])

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
        return await self._request("POST", resource.path(namespace, name, subresource), body=_typed(resource, body))

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        path = resource.path(namespace_of(body), name_of(body), subresource)
        return await self._request("PUT", path, body=_typed(resource, body))

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
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        path = resource.path(namespace, name, subresource)
        return await self._request("PATCH", path, query, body=patch, content_type=patch_type)

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
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if uid or resource_version:
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        return await self._request("DELETE", resource.path(namespace, name), body=options)

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        await self._request("DELETE", resource.path(namespace), query)

    # -- the wire ------------------------------------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        try:
            async with (
                self._in_flight,
                asyncio.timeout(REQUEST_SECONDS),
                self._answer(method, path, query, body, content_type) as response,
            ):
                answer: Object = orjson.loads(await response.read())
        except orjson.JSONDecodeError as error:
            raise ConnectionError(f"{method} {path}: the answer is not JSON: {error}") from None
        return answer

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> AsyncGenerator[ClientResponse, None]:
        import aiohttp

        if self._open is None:
            raise RuntimeError("HttpClient is used outside its `async with`")
        headers = {}
        if self._token_source is not None:
            headers["Authorization"] = f"Bearer {await self._token_source()}"
        if body is not None:
            headers["Content-Type"] = content_type
        data = orjson.dumps(body) if body is not None else None
        params = {key: value for key, value in (query or {}).items() if value}
        try:
            async with self._open.request(
                method, self._url + path, params=params, data=data, headers=headers
            ) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                yield response
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error


def _typed(resource: Resource, body: Object) -> Object:
    """Objects out of lists carry no type, which a request body must."""
    return body if "kind" in body else {"apiVersion": resource.api_version, "kind": resource.kind, **body}


def _refusal(code: int, body: bytes) -> ApiError:
    """A proxy in between may answer with anything; then the text is the message."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:ERROR_TEXT_MAX].decode(errors="replace").strip()}
    return ApiError.from_status(status, code)


async def _lines(response: ClientResponse) -> AsyncIterator[bytes]:
    """Objects may be far longer than the line limit of aiohttp's own reader."""
    rest: list[bytes] = []
    async for chunk in response.content.iter_any():
        *whole, last = chunk.split(b"\n")
        for line in whole:
            rest.append(line)
            joined = b"".join(rest)
            rest.clear()
            if joined.strip():
                yield joined
        if last:
            rest.append(last)
