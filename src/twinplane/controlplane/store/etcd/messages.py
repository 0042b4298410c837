"""etcd's requests and answers (etcdserverpb and mvccpb, api/etcdserverpb/rpc.proto) as the store uses them.

Every write also puts the cluster's marker, so that one look at one key tells the newest revision of the cluster: the
revision in every answer's header counts the changes of all users of etcd.
"""

from __future__ import annotations

from typing import NamedTuple

from twinplane.controlplane.store.etcd.protobuf import Value, data, fields, integer

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"

_REQUEST_RANGE, _REQUEST_PUT, _REQUEST_DELETE_RANGE = 1, 2, 3
_COMPARE, _SUCCESS, _FAILURE = 1, 2, 3
_MOD = 2


class KeyValue(NamedTuple):
    key: bytes
    value: bytes
    mod_revision: int
    create_revision: int
    version: int


class Ranged(NamedTuple):
    revision: int
    """Of the header: etcd's newest when it answered."""
    kvs: list[KeyValue]
    total: int


class Written(NamedTuple):
    """`succeeded`: the comparison held. `found` is the key afterwards, or, after a delete, what was deleted."""

    revision: int
    succeeded: bool
    found: KeyValue | None


class Change(NamedTuple):
    deleted: bool
    kv: KeyValue
    previous: KeyValue | None


class Watched(NamedTuple):
    revision: int
    created: bool
    canceled: bool
    compact_revision: int
    cancel_reason: str
    fragment: bool
    changes: list[Change]


def range_request(
    key: bytes, range_end: bytes = b"", *, limit: int = 0, revision: int = 0, count_only: bool = False
) -> bytes:
    return b"".join(
        (
            data(1, key),
            data(2, range_end) if range_end else b"",
            integer(3, limit),
            integer(4, revision),
            integer(9, count_only),
        )
    )


def put(key: bytes, value: bytes) -> bytes:
    """As an operation of a transaction."""
    return data(_REQUEST_PUT, data(1, key) + data(2, value))


def put_request(key: bytes, value: bytes, expected: int, marker: bytes) -> bytes:
    """Put `key` if it is at the revision `expected` (0: if it is not there)."""
    # With the marker: its own put, and the key's new revisions without its value.
    operations = (put(key, value), put(marker, b""), data(_REQUEST_RANGE, data(1, key) + integer(8, 1)))
    return _transaction(key, expected, operations)


def delete_request(key: bytes, expected: int, marker: bytes) -> bytes:
    return _transaction(key, expected, (data(_REQUEST_DELETE_RANGE, data(1, key) + integer(3, 1)), put(marker, b"")))


def record_request(key: bytes, value: bytes, expected: int) -> bytes:
    """A put that is compared, without the marker: for keys that are no cluster's."""
    return _transaction(key, expected, (put(key, value), data(_REQUEST_RANGE, data(1, key))))


def puts_request(puts: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(data(_SUCCESS, put(key, value)) for key, value in puts)


def delete_request_of(key: bytes, range_end: bytes = b"") -> bytes:
    """Whatever is there; without `range_end` the one key."""
    bounds = data(1, key) + (data(2, range_end) if range_end else b"")
    return data(_SUCCESS, data(_REQUEST_DELETE_RANGE, bounds))


def _transaction(key: bytes, expected: int, operations: tuple[bytes, ...]) -> bytes:
    compare = integer(2, _MOD) + data(3, key) + integer(6, expected)
    return b"".join(
        (
            data(_COMPARE, compare),
            *(data(_SUCCESS, operation) for operation in operations),
            data(_FAILURE, data(_REQUEST_RANGE, data(1, key))),
        )
    )


def compact_request(revision: int) -> bytes:
    return integer(1, revision)


def watch_request(key: bytes, range_end: bytes, start_revision: int) -> bytes:
    """With progress notifications, previous values, and large answers in fragments."""
    create = (data(1, key), data(2, range_end), integer(3, start_revision), integer(4, 1), integer(6, 1), integer(8, 1))
    return data(1, b"".join(create))


def authenticate_request(name: str, password: str) -> bytes:
    return data(1, name.encode()) + data(2, password.encode())


def token_of(answer: bytes) -> bytes:
    return next((_bytes(value) for field, value in fields(answer) if field == 2), b"")


def revision_of(answer: bytes) -> int:
    """From the header that every answer begins with."""
    return next((_revision(_bytes(value)) for field, value in fields(answer) if field == 1), 0)


def ranged(answer: bytes) -> Ranged:
    revision = total = 0
    kvs = []
    for field, value in fields(answer):
        if field == 2:
            kvs.append(key_value(_bytes(value)))
        elif field == 1:
            revision = _revision(_bytes(value))
        elif field == 4:
            total = _int(value)
    return Ranged(revision, kvs, total)


def written(answer: bytes) -> Written:
    revision, succeeded, found = 0, False, None
    for field, value in fields(answer):
        if field == 1:
            revision = _revision(_bytes(value))
        elif field == 2:
            succeeded = bool(value)
        elif field == 3:
            found = _of_operation(_bytes(value)) or found
    return Written(revision, succeeded, found)


def _of_operation(answer: bytes) -> KeyValue | None:
    """The key in the answer of a range or of a delete that was asked for the previous value."""
    for operation, value in fields(answer):
        kvs_field = {_REQUEST_RANGE: 2, _REQUEST_DELETE_RANGE: 3}.get(operation)
        for field, kv in fields(_bytes(value)):
            if field == kvs_field:
                return key_value(_bytes(kv))
    return None


def watched(answer: bytes) -> Watched:
    found: dict[int, Value] = {}
    changes = []
    for field, value in fields(answer):
        if field == 11:
            changes.append(_change(_bytes(value)))
        else:
            found[field] = value
    return Watched(
        revision=_revision(_bytes(found.get(1, b""))),
        created=bool(found.get(3)),
        canceled=bool(found.get(4)),
        compact_revision=_int(found.get(5, 0)),
        cancel_reason=_bytes(found.get(6, b"")).decode(errors="replace"),
        fragment=bool(found.get(7)),
        changes=changes,
    )


def _change(event: bytes) -> Change:
    found = dict(fields(event))
    previous = found.get(3)
    return Change(bool(found.get(1)), key_value(_bytes(found[2])), key_value(_bytes(previous)) if previous else None)


def key_value(message: bytes) -> KeyValue:
    found = dict(fields(message))
    return KeyValue(
        _bytes(found.get(1, b"")),
        _bytes(found.get(5, b"")),
        _int(found.get(3, 0)),
        _int(found.get(2, 0)),
        _int(found.get(4, 0)),
    )


def _revision(header: bytes) -> int:
    return next((_int(value) for field, value in fields(header) if field == 3), 0)


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def _int(value: Value) -> int:
    assert isinstance(value, int)
    return value
