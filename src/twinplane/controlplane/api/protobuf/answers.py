"""Answers in protobuf, for clients that accept nothing else.

Objects lie in the store as JSON and go out as they lie; so JSON is what a client gets that takes both. For the others
the server hands its finished answer to `answer`, and a watch becomes a stream of frames: four bytes that tell how long,
then a WatchEvent with the object in an envelope of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import orjson

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.protobuf import wire
from twinplane.controlplane.api.protobuf.decoding import MEDIA_TYPE
from twinplane.controlplane.api.protobuf.encoding import encode, enveloped, pieces
from twinplane.controlplane.api.protobuf.messages import has_message

_JSON = "application/json"
_TURN_BYTES = 64 * 1024
"""Encoded of a long list before others have a turn."""
_ONE, _TWO = (wire.varint(wire.tag_of(number, wire.BYTES)) for number in (1, 2))


@lru_cache(maxsize=512)
def wanted(accept: str) -> bool:
    """Whether protobuf is acceptable and JSON or YAML is not."""
    medias = [clause.partition(";")[0].strip() for clause in accept.split(",")]
    return MEDIA_TYPE in medias and not any(media.endswith(("/json", "/yaml", "/*")) for media in medias)


async def answer(response: Response) -> Response:
    """The same in protobuf; unchanged where there is no message for it (documents, text, statistics)."""
    if response.content_type != _JSON or response.tunnel is not None:
        return response
    if response.stream is not None:
        response.stream = Frames(response.stream)
        response.content_type = f"{MEDIA_TYPE};stream=watch"
        return response
    whole = response.whole()
    body = orjson.loads(whole) if whole else None
    if not isinstance(body, dict) or not has_message(str(body.get("apiVersion", "")), str(body.get("kind", ""))):
        return response
    found, size = [], 0
    for piece in pieces(body):
        found.append(piece)
        size += len(piece)
        if size >= _TURN_BYTES:
            size = 0
            await asyncio.sleep(0)
    response.body, response.pieces = b"".join(enveloped(body, found)), ()
    response.content_type = MEDIA_TYPE
    return response


class Frames:
    """The events of a watch, of which one piece may hold several."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._events)
        return b"".join(_frame(line) for line in piece.splitlines())

    async def aclose(self) -> None:
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()


def _frame(line: bytes) -> bytes:
    event = orjson.loads(line)
    shown = wire.chunk(_ONE, encode(event["object"]))
    message = wire.chunk(_ONE, event["type"].encode()) + wire.chunk(_TWO, shown)
    return len(message).to_bytes(4, "big") + message
