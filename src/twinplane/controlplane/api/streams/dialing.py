"""Making connections for streams and proxies: to a kubelet, or to an address and port behind it.

The API server has no route to the addresses of pods. Where a node says that its kubelet is reached elsewhere than at
its own address (`ENDPOINT_ANNOTATION`), the kubelet dials for it (`GET /dial`, upgraded to raw bytes).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.streams.upstream import Broken, Head, Upstream
from twinplane.kubeclient.errors import ApiError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""For the 101 of a kubelet; a proxied request may take as long as it likes."""
_SHOWN_BYTES = 4096
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer")
) | {"transfer-encoding", "upgrade"}


async def dial(host: str, port: int, context: ssl.SSLContext | None = None, name: str | None = None) -> Upstream:
    """`name` is that on the certificate, where it is not the host.

    Raises OSError (also for TLS that fails) with what happened, in Go's words.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, upstream = await loop.create_connection(Upstream, host, port, ssl=context, server_hostname=name)
    except TimeoutError as error:
        raise OSError(f"dial tcp {host}:{port}: i/o timeout") from error
    except ConnectionRefusedError as error:
        raise OSError(f"dial tcp {host}:{port}: connect: connection refused") from error
    except OSError as error:
        raise OSError(f"dial tcp {host}:{port}: {error.strerror or error}") from error
    return upstream


async def through(kubelet: Upstream, host: str, port: int) -> Upstream:
    """The same connection, from now on to an address that the kubelet reaches. Raises OSError."""
    target = "/dial?" + urlencode({"host": host, "port": port})
    headers = (("Host", "kubelet"), ("Connection", "Upgrade"), ("Upgrade", "tcp"))
    async with closed_on_failure(kubelet):
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await kubelet.ask("GET", target, headers)
                if head.status != 101:
                    text = b"".join([piece async for piece in kubelet.body()])[:_SHOWN_BYTES]
                    raise OSError(text.decode(errors="replace").strip() or f"the kubelet answered {head.status}")
        except (Broken, TimeoutError) as error:
            raise OSError(f"dial tcp {host}:{port}: {error or 'i/o timeout'}") from error
    return kubelet


@asynccontextmanager
async def closed_on_failure(upstream: Upstream) -> AsyncIterator[Upstream]:
    """A connection that becomes part of the answer when all goes well."""
    try:
        yield upstream
    except BaseException:
        upstream.close()
        raise


async def answered(upstream: Upstream, head: Head, method: str) -> Response:
    """The answer of the far end as ours: the same status and headers, its body as it comes, or a tunnel."""
    if head.status == 101:
        return Response(101, headers=_joined(head, keep=("connection", "upgrade")), tunnel=upstream)
    content_type = head.get("content-type") or "application/octet-stream"
    response = Response(head.status, content_type=content_type, headers=_joined(head))
    if method == "HEAD" or head.status in (204, 304):
        upstream.close()
    else:
        response.stream = upstream.body()
    return response


def _joined(head: Head, keep: tuple[str, ...] = ()) -> dict[str, str]:
    headers: dict[str, str] = {}
    dropped = HOP_BY_HOP | {"content-length", "content-type"}
    for name, value in head.headers:
        if name in dropped and name not in keep:
            continue
        if name == "set-cookie" and name in headers:
            # The one header whose values cannot be joined by a comma: a line of its own behind the first.
            headers[name] += f"\r\nset-cookie: {value}"
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def backend_error(error: Exception) -> ApiError:
    """How upstream reports a kubelet that cannot be reached for a stream: 500 without a reason."""
    return ApiError("", f"error dialing backend: {error}", code=500)


def service_error(error: Exception) -> ApiError:
    """How upstream's proxies report a target that cannot be reached."""
    return ApiError("ServiceUnavailable", f"error trying to reach service: {error}")
