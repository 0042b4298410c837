"""The API server as a client of kubelets: container logs passed on as they come, and connections for streams.

aiohttp is imported with the first request, since most clusters never ask for a log.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.streams.dialing import dial, through
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

ENDPOINT_ANNOTATION = "twinplane.io/kubelet-endpoint"
"""HOST:PORT where the kubelet of a node is really reached: nodes of one machine share its addresses."""
DEFAULT_PORT = 10250
CONNECT_SECONDS = 5.0
_SHOWN_BYTES = 4096


class KubeletClient:
    """Implements `KubeletDialer`. `context` carries the client certificate that kubelets ask for.

    `reach` says where this host reaches an address of the VPC (`twinplane.edge`).
    """

    def __init__(self, context: ssl.SSLContext, reach: Callable[[str], str] = str) -> None:
        self._context = context
        self._reach = reach
        self._session: ClientSession | None = None

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        """Raises NotFound for a node without an address, InternalError when its kubelet does not answer."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        url = f"https://{endpoint_of(node, self._reach)}{quote(path)}"
        try:
            answer = await self._session.get(url, params=query, headers=_named(node, path), ssl=self._context)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError("InternalError", f'Get "{url}": {error or type(error).__name__}', code=503) from error
        if answer.status >= 400:
            raise await _refusal(answer)
        content_type = answer.headers.get("content-type", "text/plain")
        return Response(answer.status, content_type=content_type, stream=_pieces(answer))

    async def connect(self, node: Object) -> Upstream:
        host, _, port = endpoint_of(node, self._reach).rpartition(":")
        return await dial(host.strip("[]"), int(port), self._context)

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        """Through the kubelet (`GET /dial`) where the node's own addresses are not those it is reached at."""
        if node is None or ENDPOINT_ANNOTATION not in (node["metadata"].get("annotations") or {}):
            return await dial(self._reach(host), port)
        return await through(await self.connect(node), host, port)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _named(node: Object, path: str) -> dict[str, str]:
    """As requests to the proxy subresource are marked, for an endpoint that stands for the kubelets of many nodes."""
    return {"X-Forwarded-Uri": quote(f"/api/v1/nodes/{node['metadata']['name']}/proxy{path}")}


def endpoint_of(node: Object, reach: Callable[[str], str] = str) -> str:
    """HOST:PORT of a node's kubelet. Raises NotFound."""
    metadata, status = node["metadata"], node.get("status") or {}
    given = (metadata.get("annotations") or {}).get(ENDPOINT_ANNOTATION)
    if given:
        return str(given)
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses") or ()}
    address = addresses.get("InternalIP") or addresses.get("Hostname")
    if not address:
        raise ApiError("NotFound", f"no preferred addresses found; known addresses: {list(addresses.items())}")
    address = reach(address)
    endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{endpoint.get('Port') or DEFAULT_PORT}"


async def _refusal(answer: ClientResponse) -> ApiError:
    """What the kubelet says, under its own code, as upstream passes it on."""
    text = (await answer.text())[:_SHOWN_BYTES].strip()
    answer.release()
    reason = {400: "BadRequest", 404: "NotFound", 403: "Forbidden"}.get(answer.status, "InternalError")
    return ApiError(reason, text or f"the kubelet answered {answer.status}", code=answer.status)


async def _pieces(answer: ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()
