"""One question to a container: HTTP, TCP, gRPC or a command; what it says, in upstream's words.

Requests go from the node's network namespace to the pod's address. aiohttp and grpc are imported with the first
request that needs them. Source: k8s.io/kubernetes `pkg/probe`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from twinplane.dataplane.kubelet.containers.expansion import expand
from twinplane.dataplane.kubelet.pods.spec import Container
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure

if TYPE_CHECKING:
    from aiohttp import ClientSession

Verdict = Literal["success", "failure", "unknown"]
BODY_MAX = 10 * 1024
REDIRECTS_MAX = 10
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class Answer(NamedTuple):
    verdict: Verdict
    output: str


class Target(NamedTuple):
    """The container that is asked."""

    container: Container
    container_id: str
    address: str
    """Of its pod."""
    environment: Mapping[str, str] = {}


class Prober:
    """`version` is of the User-Agent, e.g. `1.36`. Closed by its owner."""

    def __init__(self, runtime: Runtime, version: str) -> None:
        self._runtime = runtime
        self._version = version
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self, probe: Mapping[str, Any], target: Target, seconds: float, *, agent: str = "kube-probe"
    ) -> Answer:
        """Raises ValueError for a port that has no number."""
        if probe.get("exec") is not None:
            return await self._command(probe["exec"].get("command") or [], target, seconds)
        if probe.get("httpGet") is not None:
            return await self._http(probe["httpGet"], target, seconds, agent)
        if probe.get("tcpSocket") is not None:
            action = probe["tcpSocket"]
            return await _tcp(
                action.get("host") or target.address, port_number(action["port"], target.container), seconds
            )
        if probe.get("grpc") is not None:
            return await _grpc(target.address, int(probe["grpc"]["port"]), probe["grpc"].get("service") or "", seconds)
        return Answer("success", "")

    async def _command(self, command: list[str], target: Target, seconds: float) -> Answer:
        words = [expand(word, target.environment) for word in command]
        try:
            async with asyncio.timeout(seconds or None):
                answer = await self._runtime.exec_sync(target.container_id, words, seconds)
        except TimeoutError:
            return Answer("failure", f'command "{" ".join(words)}" timed out')
        except RuntimeFailure as error:
            if error.code == "DEADLINE_EXCEEDED":
                return Answer("failure", f'command "{" ".join(words)}" timed out')
            return Answer("unknown", error.grpc_text)
        output = (answer.stdout + answer.stderr)[:BODY_MAX].decode(errors="replace")
        return Answer("success" if answer.exit_code == 0 else "failure", output)

    async def _http(self, action: Mapping[str, Any], target: Target, seconds: float, agent: str) -> Answer:
        from aiohttp import ClientError
        from yarl import URL

        scheme = (action.get("scheme") or "HTTP").lower()
        host = action.get("host") or target.address
        port = port_number(action["port"], target.container)
        shown = f"[{host}]" if ":" in host else host
        path = action.get("path") or "/"
        url = f"{scheme}://{shown}:{port}{path if path.startswith('/') else '/' + path}"
        headers = {"User-Agent": f"{agent}/{self._version}", "Accept": "*/*", "Connection": "close"}
        headers |= {item["name"]: item.get("value", "") for item in action.get("httpHeaders") or ()}
        try:
            async with asyncio.timeout(seconds or None):
                status, body = await self._get(URL(url, encoded=True), headers)
        except TimeoutError:
            text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            return Answer("failure", f'Get "{url}": {text}')
        except (ClientError, OSError) as error:
            return Answer("failure", f'Get "{url}": {_dial_error(error, host, port)}')
        if 200 <= status < 400:
            return Answer("success", body)
        return Answer("failure", f"HTTP probe failed with statuscode: {status}")

    async def _get(self, url: Any, headers: dict[str, str]) -> tuple[int, str]:
        """Follows redirects within the host; one to another host ends it, as a success."""
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(force_close=True, ssl=False, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
            )
        for _ in range(REDIRECTS_MAX):
            async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
                moved = answer.headers.get("Location") if answer.status in (301, 302, 303, 307, 308) else None
                following = url.join(type(url)(moved)) if moved else None
                if following is None or urlsplit(str(following)).hostname != url.host:
                    body = await answer.content.read(BODY_MAX)
                    return answer.status, body.decode(errors="replace")
                url = following
        return 599, ""


def port_number(port: int | str, container: Container) -> int:
    """Of a number or the name of a port of the container. Raises ValueError."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    raise ValueError(f"couldn't find port: {port!r}")


async def _tcp(host: str, port: int, seconds: float) -> Answer:
    try:
        async with asyncio.timeout(seconds or None):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Answer("failure", f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Answer("failure", _dial_error(error, host, port))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Answer("success", "")


async def _grpc(host: str, port: int, service: str, seconds: float) -> Answer:
    """The two messages of the health protocol are one string and one number, so they are written by hand."""
    from grpc.aio import AioRpcError, insecure_channel

    name = service.encode()
    request = bytes([0x0A, len(name)]) + name if name else b""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(
            HEALTH_METHOD, request_serializer=lambda data: data, response_deserializer=lambda data: data
        )
        try:
            answer = await check(request, timeout=seconds or None)
        except AioRpcError as error:
            return Answer("failure", _grpc_refusal(error.code().name, error.details() or "", address, seconds))
    value = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    if value == 1:
        return Answer("success", "service healthy")
    return Answer("failure", f'service unhealthy (responded with "{SERVING.get(value, "UNKNOWN")}")')


def _grpc_refusal(code: str, text: str, address: str, seconds: float) -> str:
    if code == "UNIMPLEMENTED":
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {text}"
    if code in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
        return f'timeout: failed to connect service "{address}" within {seconds:g}s: context deadline exceeded'
    return f"error: health rpc probe failed: {text}"


def _dial_error(error: Exception, host: str, port: int) -> str:
    """A failed connection, as Go words it."""
    number = getattr(error, "errno", None)
    inner = getattr(error, "os_error", None)
    number = getattr(inner, "errno", None) or number
    if number:
        return f"dial tcp {host}:{port}: connect: {os.strerror(number).lower()}"
    return str(error) or type(error).__name__
