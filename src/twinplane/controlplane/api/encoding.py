"""How objects lie in the store and travel: JSON bytes that are encoded once, on the write, and shared from then on.

Every stored object begins `{"kind":K,"apiVersion":V,"metadata":{"resourceVersion":"",...`: the revision, which only the
store knows, is filled into a place near the front (`stamp` is the store's `Stamp`). Lists and watch events are made by
joining such bytes, so nothing is parsed or encoded on the way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import bad_request

PIECE_BYTES = 128 * 1024
"""Of a long list: small enough that its first piece is on its way at once, large enough not to cost anything."""
_UNSTAMPED = b'"resourceVersion":""'


def dump(value: Any) -> bytes:
    """JSON bytes. Raises BadRequest for what JSON cannot carry (integers beyond 64 bits, ...)."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise bad_request(f"the object cannot be encoded as JSON: {error}") from error


def to_store(body: Object, resource: Resource) -> Object:
    """`body` as the stored `resource`, to be encoded (`dump`) for the store, which stamps it.

    Its `metadata` is a dictionary of its own; the rest is shared with `body`.
    """
    metadata = {"resourceVersion": "", **body["metadata"]}
    metadata["resourceVersion"] = ""
    ordered = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    for key, value in body.items():
        if key not in ordered:
            ordered[key] = value
    return ordered


def stamp(value: bytes, revision: int) -> bytes:
    return value.replace(_UNSTAMPED, b'"resourceVersion":"%d"' % revision, 1)


def restamp(value: bytes, old: int, new: int) -> bytes:
    """What a DELETED event carries: the last state under the revision of its deletion."""
    return value.replace(b'"resourceVersion":"%d"' % old, b'"resourceVersion":"%d"' % new, 1)


def list_bytes(
    kind: str,
    api_version: str,
    revision: int,
    items: Iterable[bytes],
    *,
    continue_: str = "",
    remaining: int | None = None,
) -> bytes:
    """A List of items that are encoded already."""
    return b"".join(list_pieces(kind, api_version, revision, items, continue_=continue_, remaining=remaining))


def list_pieces(
    kind: str,
    api_version: str,
    revision: int,
    items: Iterable[bytes],
    *,
    continue_: str = "",
    remaining: int | None = None,
) -> list[bytes]:
    """As `list_bytes`, in pieces of about `PIECE_BYTES`."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if continue_:
        metadata["continue"] = continue_
    if remaining is not None:
        metadata["remainingItemCount"] = remaining
    head = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    pieces: list[bytes] = []
    piece, size, start = [], 0, head[:-1] + b',"items":['
    for item in items:
        piece.append(item)
        size += len(item)
        if size >= PIECE_BYTES:
            pieces.append(start + b",".join(piece))
            piece, size, start = [], 0, b","
    if piece or not pieces:
        pieces.append(start + b",".join(piece))
    pieces[-1] += b"]}\n"
    return pieces


def watch_event(type: str, object: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type.encode(), object)
