"""The durable side of the embedded store: one SQLite file with the newest record of every key.

Called by `embedded` only, always from one worker thread. A whole batch is one INSERT statement: sqlite3 gives the
interpreter lock away at every statement and may wait a switch interval to get it back from a busy event loop, so a
statement for each row would make a batch of 64 take a third of a second.

A deleted key stays as a row without a value, because the newest row then always carries the revision counter and a
batch needs no second statement. These rows are swept now and then, the newest excepted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from twinplane.controlplane.store.contract import Event, Record, StorageFull, StoreError

APPLICATION_ID = 0x7477696E
SCHEMA_VERSION = 1
DEFAULT_QUOTA = 8 << 30
"""Bytes; etcd's suggested maximum."""
SWEEP_AFTER = 10_000
"""Deleted keys that are kept as rows before they are swept."""
STATEMENT_ROWS = (1, 4, 16, 64, 256)
"""A batch is padded to the next of these, so that few statements are prepared and all stay cached."""
CHECKPOINT_PAGES = 4096

# The value comes last: what stands before it is read without following the pages that a long value spills over.
CREATE_RECORD = """
CREATE TABLE record (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  revision INTEGER NOT NULL,
  create_revision INTEGER NOT NULL,
  value BLOB
)"""
SCHEMA = (CREATE_RECORD, "CREATE INDEX deleted ON record (revision) WHERE value IS NULL")

Row = tuple[str, int, int, bytes | None]
PADDING = (None, None, None, None)


class UnusableDatabase(StoreError):
    """The file is not a store of ours, is damaged, or another process has it."""


def _insert(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?)"] * rows)
    return (
        "INSERT INTO record (key, revision, create_revision, value) "
        f"SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision, "
        "create_revision = excluded.create_revision"
    )


INSERTS = {rows: _insert(rows) for rows in STATEMENT_ROWS}


class SqliteLog:
    def __init__(self, path: Path, *, quota: int = DEFAULT_QUOTA) -> None:
        """Open or create. Raises `UnusableDatabase` and OSError (no permission, no such directory)."""
        # The mode is set before SQLite comes: secrets are in this file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path = path
        self._deleted = 0
        self._revision = 0
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        try:
            self._prepare(quota)
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error) from error
        except UnusableDatabase:
            self._connection.close()
            raise

    def _prepare(self, quota: int) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        ours = execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise UnusableDatabase(f"{self._path} is a database of another program")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        page_size = execute("PRAGMA page_size").fetchone()[0]
        execute(f"PRAGMA max_page_count = {max(1, quota // page_size)}")
        if not ours:
            self._create_schema()
        version = execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise UnusableDatabase(
                f"{self._path} has format {version}; this version of Twinplane reads {SCHEMA_VERSION}"
            )

    def _create_schema(self) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _unusable(self, error: sqlite3.Error) -> UnusableDatabase:
        reasons = {
            sqlite3.SQLITE_BUSY: "is in use by another process",
            sqlite3.SQLITE_NOTADB: "is not a database",
            sqlite3.SQLITE_CORRUPT: "is damaged",
            sqlite3.SQLITE_READONLY: "cannot be written",
        }
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return UnusableDatabase(f"{self._path} {reasons.get(code, 'cannot be opened')} ({error})")

    def load(self) -> tuple[list[Record], int]:
        """Every record in key order, and the revision of the last commit. Raises `UnusableDatabase`."""
        try:
            records = list(self._records())
            newest_deleted, self._deleted = self._connection.execute(
                "SELECT coalesce(max(revision), 0), count(*) FROM record WHERE value IS NULL"
            ).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        # Sorted here, not by the database, which would read the rows at random places of the file.
        records.sort(key=itemgetter(0))
        self._revision = max((record.revision for record in records), default=0)
        self._revision = max(self._revision, newest_deleted)
        return records, self._revision

    def _records(self) -> Iterator[Record]:
        rows = self._connection.execute(
            "SELECT key, value, revision, create_revision FROM record WHERE value IS NOT NULL"
        )
        for key, value, revision, created in rows:
            # Most objects are never changed: one integer serves both.
            yield Record(key, value, revision, revision if created == revision else created)

    def commit(self, events: Sequence[Event]) -> None:
        """All of `events` or none, durable on return. Raises `StorageFull` and sqlite3.Error."""
        rows = [_row(event) for event in {event.key: event for event in events}.values()]
        try:
            if self._deleted > SWEEP_AFTER:
                self._sweep()
            self._write(rows)
        except sqlite3.Error as error:
            if not (_is_full(error) and self._deleted):
                raise _storage_error(error) from error
            self._write_after_sweep(rows)
        self._revision = events[-1].revision
        self._deleted += sum(1 for row in rows if row[-1] is None)

    def _write(self, rows: Sequence[Row]) -> None:
        if len(rows) <= STATEMENT_ROWS[-1]:
            self._insert_rows(rows)
        else:
            self._insert_in_transaction(rows)

    def _write_after_sweep(self, rows: Sequence[Row]) -> None:
        """The room that deleted keys take is only free after a sweep."""
        try:
            self._sweep()
            self._write(rows)
        except sqlite3.Error as error:
            raise _storage_error(error) from error

    def _insert_rows(self, rows: Sequence[Row]) -> None:
        size = next(size for size in STATEMENT_ROWS if size >= len(rows))
        parameters: list[object] = [value for row in rows for value in row]
        parameters.extend(PADDING * (size - len(rows)))
        self._connection.execute(INSERTS[size], parameters)

    def _insert_in_transaction(self, rows: Sequence[Row]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(rows), STATEMENT_ROWS[-1]):
                self._insert_rows(rows[start : start + STATEMENT_ROWS[-1]])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _sweep(self) -> None:
        self._connection.execute("DELETE FROM record WHERE value IS NULL AND revision < ?", (self._revision,))
        self._deleted = 0

    def close(self) -> None:
        self._connection.close()


def _row(event: Event) -> Row:
    if event.record is None:
        return event.key, event.revision, 0, None
    return event.key, event.revision, event.record.create_revision, event.record.value


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _storage_error(error: sqlite3.Error) -> Exception:
    return StorageFull(str(error)) if _is_full(error) else error
