"""What the EKS service remembers: records of JSON in memory, each written through to SQLite before it counts.

Records are plain dictionaries in the shape of the API (plus members that the protocol leaves out of answers), because
they are what DescribeX returns. The file is small and written
rarely; a write is one transaction with synchronous=FULL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

KINDS = ("cluster", "nodegroup", "access", "podidentity", "update")
Record = dict[str, Any]
Key = tuple[str, ...]
"""The names that lead to a record: (cluster,), (cluster, nodegroup), ..."""

_SEPARATOR = "\n"


class StateCorrupt(Exception):
    """The file is not readable; the message names it."""


class State:
    def __init__(self, path: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._records: dict[str, dict[Key, Record]] = {kind: {} for kind in KINDS}
        self._changed = changed
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._load()
        except (sqlite3.DatabaseError, ValueError) as error:
            self._database.close()
            raise StateCorrupt(
                f"{path} is damaged ({error}). Restore it from a backup, or remove it: the region then no longer knows "
                f"its clusters."
            ) from error

    def _load(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, body BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        for kind, key, body in self._database.execute("SELECT kind, key, body FROM record"):
            self._records[kind][tuple(key.split(_SEPARATOR))] = orjson.loads(body)

    def close(self) -> None:
        self._database.close()

    def get(self, kind: str, *key: str) -> Record | None:
        return self._records[kind].get(key)

    def below(self, kind: str, *prefix: str) -> list[tuple[Key, Record]]:
        """Records whose key starts with `prefix`, in key order."""
        return list(self._iterate(kind, prefix))

    def _iterate(self, kind: str, prefix: Key) -> Iterator[tuple[Key, Record]]:
        for key, record in sorted(self._records[kind].items(), key=lambda item: item[0]):
            if key[: len(prefix)] == prefix:
                yield key, record

    def put(self, kind: str, key: Key, record: Record) -> None:
        """Durable when it returns. The record object itself is kept: change it and put it again."""
        self._database.execute(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (kind, _SEPARATOR.join(key), orjson.dumps(record))
        )
        self._records[kind][key] = record
        self._changed()

    def remove(self, kind: str, key: Key) -> None:
        self._database.execute("DELETE FROM record WHERE kind = ? AND key = ?", (kind, _SEPARATOR.join(key)))
        self._records[kind].pop(key, None)
        self._changed()

    def remove_cluster(self, name: str) -> None:
        """The cluster and everything below it, in one transaction."""
        self._database.execute(
            "DELETE FROM record WHERE key = ? OR substr(key, 1, ?) = ?",
            (name, len(name) + 1, name + _SEPARATOR),
        )
        for records in self._records.values():
            for key in [key for key in records if key[0] == name]:
                del records[key]
        self._changed()
