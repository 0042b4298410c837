"""gzip for large answers to clients on other machines, in a thread so that the loop goes on.

Clients on the same machine are not compressed for: deflating costs more than loopback ever saves.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from twinplane.controlplane.api.contract import Request, Response

SMALLEST = 128 * 1024
"""As upstream: shorter answers are not worth it."""
LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


async def compress(request: Request, response: Response) -> None:
    """Deflates the answer if that is worth it and wanted, and says so in `content-encoding`."""
    pieces = response.pieces or (response.body,)
    if sum(map(len, pieces)) < SMALLEST or "gzip" not in request.headers.get("accept-encoding", ""):
        return
    response.headers["content-encoding"] = "gzip"
    response.headers["vary"] = "Accept-Encoding"
    response.body = await asyncio.get_running_loop().run_in_executor(None, _deflate, pieces)
    response.pieces = ()


def _deflate(pieces: Sequence[bytes]) -> bytes:
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return b"".join((*map(deflater.compress, pieces), deflater.flush()))
