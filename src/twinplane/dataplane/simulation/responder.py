"""One TCP connection to a simulated pod: HTTP/1.1 with keep-alive that says who answered.

The JSON names pod, node, zone and namespace, and echoes the request, so that spreading and routing can be seen from
outside. A client that speaks no HTTP gets the same as one line of text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson

from twinplane.dataplane.simulation.pods import SimulatedPod
from twinplane.dataplane.simulation.services import HealthTarget, Target

IDLE_SECONDS = 75.0
HEADER_BYTES_MAX = 65_536


class PodConnection(asyncio.Protocol):
    """`target` is asked when the connection is made, and has closed it when it answers None."""

    def __init__(
        self, target: Callable[[asyncio.Transport], Target | None], answered: Callable[[SimulatedPod, str], None]
    ) -> None:
        self._find = target
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._target: Target | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._idle: asyncio.TimerHandle | None = None
        self._url = b""
        self._host = ""
        self._pending = 0

    # -- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being of that class.
        self._transport = cast(asyncio.Transport, transport)
        self._target = self._find(self._transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        if self._target is None or self._transport is None:
            return
        self._wait()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._transport.write(self._line())
            self._transport.close()

    def eof_received(self) -> bool:
        return False

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._transport.close)

    # -- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._host, self._pending = b"", "", 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pending += len(name) + len(value)
        if self._pending > HEADER_BYTES_MAX:
            raise httptools.HttpParserError("header too long")
        if name.lower() == b"host":
            self._host = value.decode("latin-1")

    def on_message_complete(self) -> None:
        if self._transport is None or self._target is None:
            return
        method = self._parser.get_method().decode()
        path = self._url.decode("latin-1")
        if not self._alive():
            self._transport.abort()
            return
        status, content = self._content(method, path)
        keep = bool(self._parser.should_keep_alive())
        body = orjson.dumps(content) + b"\n"
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode() if method == "HEAD" else head.encode() + body)
        if not isinstance(self._target, HealthTarget):
            self._answered(self._target.pod, f'"{method} {path}" {status.value} host={self._host}')
        if not keep:
            self._transport.close()

    # -- what is said --------------------------------------------------------------------------------------------

    def _alive(self) -> bool:
        """A pod that was stopped meanwhile does not answer on a connection that is still open."""
        return isinstance(self._target, HealthTarget) or (self._target is not None and self._target.pod.serving)

    def _content(self, method: str, path: str) -> tuple[HTTPStatus, dict[str, Any]]:
        target = self._target
        if isinstance(target, HealthTarget):
            service = {"namespace": target.namespace, "name": target.service}
            status = HTTPStatus.OK if target.local_endpoints else HTTPStatus.SERVICE_UNAVAILABLE
            return status, {"service": service, "localEndpoints": target.local_endpoints}
        return HTTPStatus.OK, {**self._who(), "method": method, "path": path, "host": self._host}

    def _who(self) -> dict[str, Any]:
        target = self._target
        assert target is not None
        assert not isinstance(target, HealthTarget)
        pod = target.pod
        return {
            "pod": pod.spec.name,
            "namespace": pod.spec.namespace,
            "node": pod.spec.node,
            "zone": pod.node.spec.instance.availability_zone,
            "address": pod.address,
            "port": target.port,
        }

    def _line(self) -> bytes:
        if self._target is None or isinstance(self._target, HealthTarget):
            return b""
        who = self._who()
        return f"pod {who['namespace']}/{who['pod']} on {who['node']} ({who['zone']})\n".encode()
