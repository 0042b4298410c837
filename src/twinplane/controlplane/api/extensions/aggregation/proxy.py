"""Requests passed on to an aggregated API server, in the name of whoever made them.

The other server trusts the client certificate and reads user, groups and extra from headers; it is asked at a ready
endpoint of its Service, and its answer is passed back as it comes, watches included.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from multidict import CIMultiDict

from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.extensions.dialing import Dialer, Unreachable, bracketed
from twinplane.controlplane.api.streams.connect import passed_on
from twinplane.controlplane.api.streams.dialing import ANSWER_SECONDS, answered, closed_on_failure, dial
from twinplane.controlplane.api.streams.upstream import Broken
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object

_NOT_PASSED = frozenset(
    {
        *("authorization", "connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "accept-encoding"),
    }
)
_NOT_RETURNED = frozenset({"connection", "content-length", "content-type", "keep-alive", "transfer-encoding", "date"})
_PIECE = 64 * 1024
_PATH_SAFE = "/:@!$&'()*+,;=~%"


def service_of(api_service: Object) -> tuple[str, str, int]:
    reference = api_service["spec"]["service"]
    return reference.get("namespace", ""), reference.get("name", ""), int(reference.get("port") or 443)


def user_headers(user: UserInfo) -> list[tuple[str, str]]:
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        # Header names are case-insensitive and limited, so keys travel escaped, as upstream's headerKeyEscape.
        name = f"X-Remote-Extra-{quote(key.lower(), safe='')}"
        headers += [(name, value) for value in values]
    return headers


def target_of(api_service: Object, dialer: Dialer, path: str) -> tuple[str, str, ssl.SSLContext]:
    """(URL, name on its certificate, TLS context). Raises Unreachable."""
    namespace, name, port = service_of(api_service)
    spec = api_service["spec"]
    host, at = dialer.resolve(namespace, name, port)
    insecure = bool(spec.get("insecureSkipTLSVerify"))
    context = dialer.context(spec.get("caBundle") or "", insecure=insecure, present=True)
    return f"https://{bracketed(host)}:{at}{path}", f"{name}.{namespace}.svc", context


async def forward(api_service: Object, request: Request, user: UserInfo, dialer: Dialer) -> Response:
    """The other server's answer. Raises Unreachable."""
    url, name, context = target_of(api_service, dialer, quote(request.path, safe=_PATH_SAFE))
    query = request.query_text or _query_text(request)
    headers: CIMultiDict[str] = CIMultiDict(
        (key, value)
        for key, value in request.headers.items()
        if key not in _NOT_PASSED and not key.startswith("x-remote-")
    )
    for key, value in user_headers(user):
        headers.add(key, value)
    answer = await _send(
        dialer,
        request.method,
        f"{url}?{query}" if query else url,
        headers=headers,
        data=request.body or None,
        ssl=context,
        server_hostname=name,
    )
    returned = {key.lower(): value for key, value in answer.headers.items() if key.lower() not in _NOT_RETURNED}
    content_type = answer.headers.get("content-type", "application/json")
    if "content-length" in answer.headers:
        try:
            body = await answer.read()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Unreachable(str(error)) from None
        return Response(answer.status, body, content_type, returned)
    return Response(answer.status, content_type=content_type, headers=returned, stream=_Stream(answer))


async def upgrade(api_service: Object, request: Request, user: UserInfo, dialer: Dialer) -> Response:
    """As `forward`, for a request that asks to leave HTTP behind (WebSocket, SPDY). Raises Unreachable."""
    namespace, name, port = service_of(api_service)
    host, at = dialer.resolve(namespace, name, port)
    _, server_name, context = target_of(api_service, dialer, "")
    path, query = quote(request.path, safe=_PATH_SAFE), request.query_text or _query_text(request)
    kept = passed_on(request.headers, upgrade=True)
    headers = [each for each in kept if not each[0].startswith("x-remote-")]
    try:
        upstream = await dial(host, at, context, server_name)
    except OSError as error:
        raise Unreachable(str(error)) from None
    async with closed_on_failure(upstream):
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                target = f"{path}?{query}" if query else path
                headers += [("Host", server_name), *user_headers(user)]
                head = await upstream.ask(request.method, target, headers, request.body)
        except (Broken, TimeoutError) as error:
            raise Unreachable(str(error) or "i/o timeout") from None
        return await answered(upstream, head, request.method)


def _query_text(request: Request) -> str:
    pairs: Mapping[str, list[str]] = request.queries or {name: [value] for name, value in request.query.items()}
    return urlencode([(name, value) for name, values in pairs.items() for value in values])


async def _send(dialer: Dialer, method: str, url: str, **more: Any) -> Any:
    import aiohttp
    from yarl import URL

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    try:
        return await dialer.session().request(
            method,
            URL(url, encoded=True),
            allow_redirects=False,
            timeout=timeout,
            # A body of no said type is JSON to the other server; aiohttp would call it a stream of bytes.
            skip_auto_headers=("Content-Type", "User-Agent"),
            **more,
        )
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        raise Unreachable(str(error) or type(error).__name__) from None


class _Stream:
    """An answer without a length, piece by piece; closing it ends the request."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        import aiohttp

        try:
            piece: bytes = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError):
            piece = b""
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._answer.close()


async def ask(api_service: Object, path: str, user: UserInfo, dialer: Dialer, seconds: float) -> tuple[int, bytes]:
    """One GET of the server itself, for discovery and to see whether the other is there. Raises Unreachable."""
    url, name, context = target_of(api_service, dialer, path)
    headers = CIMultiDict([("accept", "application/json"), *user_headers(user)])
    try:
        async with asyncio.timeout(seconds):
            answer = await _send(dialer, "GET", url, headers=headers, ssl=context, server_hostname=name)
            try:
                return answer.status, await answer.read()
            finally:
                answer.release()
    except TimeoutError:
        raise Unreachable(f'Get "{url}": context deadline exceeded') from None
