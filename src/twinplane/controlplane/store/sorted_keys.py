"""Keys in order: what `range` walks and counts. `embedded` owns the only instance.

A list of short sorted lists, because one insert into a plain list of a million keys moves eight megabytes. Python
compares strings by code point, which is also the order of their UTF-8 bytes, hence etcd's order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

CHUNK = 1024
"""Keys of a chunk after loading; it is split at twice as many."""


def end_of_prefix(prefix: str) -> str:
    """The first string after everything that starts with `prefix`; empty where there is none (empty prefix)."""
    trimmed = prefix.rstrip(chr(0x10FFFF))
    return trimmed[:-1] + chr(ord(trimmed[-1]) + 1) if trimmed else ""


Position = tuple[int, int]
"""Chunk and index in it."""


class SortedKeys:
    def __init__(self, ordered: Iterable[str] = ()) -> None:
        keys = list(ordered)
        self._chunks = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
        self._last = [chunk[-1] for chunk in self._chunks]

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, key: str) -> None:
        """`key` must not be there yet."""
        if not self._chunks:
            self._chunks.append([key])
            self._last.append(key)
            return
        at = min(bisect_left(self._last, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > 2 * CHUNK:
            self._chunks[at : at + 1] = [chunk[:CHUNK], chunk[CHUNK:]]
            self._last[at : at + 1] = [chunk[CHUNK - 1], chunk[-1]]
        else:
            self._last[at] = chunk[-1]

    def remove(self, key: str) -> None:
        """`key` must be there."""
        at = bisect_left(self._last, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._last[at] = chunk[-1]
        else:
            del self._chunks[at], self._last[at]

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[str], int]:
        """Keys under `prefix` and above `after` (at most `limit`, 0: all), and how many follow them."""
        start = self._position_after(after) if after and after >= prefix else self._position(prefix)
        end_key = end_of_prefix(prefix)
        end = self._position(end_key) if end_key else (len(self._chunks), 0)
        if start >= end:
            return [], 0
        total = self._distance(start, end)
        count = min(limit, total) if limit else total
        return self._take(start, count), total - count

    def _position(self, key: str) -> Position:
        """Of the first key that is not below `key`."""
        at = bisect_left(self._last, key)
        return (at, bisect_left(self._chunks[at], key)) if at < len(self._chunks) else (at, 0)

    def _position_after(self, key: str) -> Position:
        at = bisect_right(self._last, key)
        return (at, bisect_right(self._chunks[at], key)) if at < len(self._chunks) else (at, 0)

    def _distance(self, start: Position, end: Position) -> int:
        return sum(map(len, self._chunks[start[0] : end[0]])) + end[1] - start[1]

    def _take(self, start: Position, count: int) -> list[str]:
        at, index = start
        keys: list[str] = []
        while len(keys) < count:
            keys += self._chunks[at][index : index + count - len(keys)]
            at, index = at + 1, 0
        return keys
