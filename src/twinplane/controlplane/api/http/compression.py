"""gzip for large answers to clients on other machines, in a thread so that the loop goes on.

Clients on the same machine are not compressed for: deflating costs more than loopback ever saves.
"""

from __future__ import annotations

import asyncio
import zlib

from twinplane.controlplane.api.contract import Request, Response

SMALLEST = 128 * 1024
"""As upstream: shorter answers are not worth it."""
LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


async def compressed(request: Request, response: Response) -> bytes:
    """The body to send; sets `content-encoding` when it is deflated."""
    body = response.body
    if len(body) < SMALLEST or "gzip" not in request.headers.get("accept-encoding", ""):
        return body
    response.headers["content-encoding"] = "gzip"
    response.headers["vary"] = "Accept-Encoding"
    return await asyncio.get_running_loop().run_in_executor(None, _deflate, body)


def _deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return deflater.compress(body) + deflater.flush()
