"""The EKS Pod Identity agent of a node: http://169.254.170.23/v1/credentials, which AWS SDKs in pods ask with their
token.

It hands the token on to the EKS Auth API under the instance's role and keeps the answer while it lasts. Only what
runs in the machine (its pods among it) reaches the address, which lies on the loopback interface.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from twinplane.clock import Clock
from twinplane.dataplane.network import nftables
from twinplane.dataplane.network.nftables import Chain, Ruleset

ADDRESS, PORT = "169.254.170.23", 80
LISTENING_PORT = 2703
"""Where it really listens: port 80 of all addresses stays free for pods on the host's network."""
TABLE = "pod-identity"
_REDIRECT = (f"ip daddr {ADDRESS} tcp dport {PORT} dnat to {ADDRESS}:{LISTENING_PORT}",)
REDIRECTION = Ruleset(
    # Before the VPC CNI's host ports, of which a pod may have port 80.
    {hook: Chain(_REDIRECT, f"type nat hook {hook} priority -101") for hook in ("prerouting", "output")}
)
PATH = "/v1/credentials"
KEPT_MAX = 2000
RENEWED_BEFORE = 3600.0
HEADER_BYTES_MAX = 64 * 1024
REQUEST_SECONDS = 10.0


class EksAuth(Protocol):
    async def post_json(self, service: str, path: str, content: Any) -> tuple[int, bytes]: ...


class PodIdentityAgent:
    def __init__(self, cluster: str, auth: EksAuth, clock: Clock) -> None:
        self._path = f"/clusters/{quote(cluster, safe='')}/assume-role-for-pod-identity"
        self._auth = auth
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    async def run(self) -> None:
        """In a machine, until cancelled. Raises OSError when it cannot listen, and NftablesError."""
        await nftables.apply(nftables.replacement(TABLE, REDIRECTION))
        await self.listen(ADDRESS, LISTENING_PORT)

    async def listen(self, host: str, port: int) -> None:
        """Until cancelled. Raises OSError when it cannot listen."""
        server = await asyncio.start_server(self._serve, host, port, limit=HEADER_BYTES_MAX)
        async with server:
            await server.serve_forever()

    async def answer(self, method: str, path: str, token: str) -> tuple[int, bytes]:
        """Status and body."""
        if path != PATH:
            return 404, b"404 page not found\n"
        if method != "GET":
            return 405, b"Method Not Allowed\n"
        if not token:
            return 400, b"Service account token cannot be empty\n"
        key, now = hashlib.sha256(token.encode()).digest(), self._clock.now()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0]:
            return 200, kept[1]
        try:
            status, body = await self._auth.post_json("eks-auth", self._path, {"token": token})
        except OSError as error:
            return 500, f"unable to reach EKS Auth: {error}\n".encode()
        if status != 200:
            return status, _message(body)
        content, expiration = _credentials(orjson.loads(body))
        self._keep(key, expiration - RENEWED_BEFORE, content)
        return 200, content

    def _keep(self, key: bytes, until: float, content: bytes) -> None:
        self._kept[key] = (until, content)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                method, path, token = _request(await reader.readuntil(b"\r\n\r\n"))
                status, body = await self.answer(method, path, token)
                kind = "application/json" if status == 200 else "text/plain"
                head = f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
                writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # A client that sends no request gets no answer.
            return
        finally:
            writer.close()


def _request(head: bytes) -> tuple[str, str, str]:
    """Method, path without query, and the Authorization header. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return method, target.partition("?")[0], headers.get("authorization", "")


def _credentials(answer: dict[str, Any]) -> tuple[bytes, float]:
    """As the container credential provider of the SDKs wants them, and when they end."""
    credentials = answer["credentials"]
    expiration = float(credentials["expiration"])
    content = {
        "AccessKeyId": credentials["accessKeyId"],
        "SecretAccessKey": credentials["secretAccessKey"],
        "Token": credentials["sessionToken"],
        "AccountId": answer["assumedRoleUser"]["arn"].split(":")[4],
        "Expiration": datetime.fromtimestamp(expiration, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return orjson.dumps(content), expiration


def _message(body: bytes) -> bytes:
    try:
        return str(orjson.loads(body)["message"]).encode() + b"\n"
    except (ValueError, KeyError, TypeError):
        return body
