"""Bytes that are no object end in ValueError with a text for the client, and in nothing else."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protobuf.encoding import chunk, encode, envelope, number, varint
from twinplane.controlplane.api.protobuf.decoding import MAGIC, MAX_DEPTH, decode
from twinplane.kubeclient.contract import Object

POD = next(
    b64decode(row["body"])
    for row in map(json.loads, Path(__file__).with_name("bodies.jsonl").read_text().splitlines())
    if row["from"] == "client-go Pod"
)
SCHEMA = "apiextensions.k8s.io/v1"
METADATA, SPEC, DATA = 1, 2, 2


def config_map(raw: bytes) -> Object:
    return decode(envelope("v1", "ConfigMap", raw))


@settings(max_examples=300)
@given(st.binary(max_size=64), st.sampled_from(("Pod", "Secret", "Event")))
def test_random_bytes(raw: bytes, kind: str) -> None:
    for data in (raw, MAGIC + raw, envelope("v1", kind, raw), envelope("v1", kind, chunk(METADATA, raw))):
        with suppress(ValueError):
            json.dumps(decode(data))


@settings(max_examples=300)
@given(st.integers(0, len(POD) - 1), st.integers(0, 255))
def test_a_changed_byte(position: int, byte: int) -> None:
    with suppress(ValueError):
        json.dumps(decode(POD[:position] + bytes((byte,)) + POD[position + 1 :]))


def test_a_truncated_body_never_fails_otherwise() -> None:
    for length in range(len(POD)):
        with suppress(ValueError):
            decode(POD[:length])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x0a", "unexpected EOF"),
        (b"\x0a\x05abc", "unexpected EOF"),
        (b"\x0a" + varint(1 << 62), "unexpected EOF"),
        (b"\x0a" + b"\xff" * 10 + b"\x01", "integer overflow"),
        (b"\x09abc", "unexpected EOF"),
        (b"\x00\x00", r"illegal tag 0 \(wire type 0\)"),
        (b"\x0f\x00", "illegal wireType 7"),
        (b"\x0c", "illegal wireType 4"),
        (b"\xfb\x01\x08", "unexpected EOF"),
        (number(METADATA, 1), "wrong wireType = 0 for field metadata"),
        (chunk(DATA, number(1, 1)), "wrong wireType = 0 for field data"),
        (number(4, 1) + chunk(4, b"x"), "wrong wireType = 2 for field immutable"),
    ],
)
def test_the_text_says_what_is_wrong(raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_map(raw)


def test_what_is_not_protobuf() -> None:
    with pytest.raises(ValueError, match=r"does not appear to be a protobuf message, expected prefix \[107 56 115 0\]"):
        decode(b'{"kind": "Pod"}')


@pytest.mark.parametrize(("api_version", "kind"), [("example.com/v1", "Widget"), ("v2", "Pod"), ("", "")])
def test_a_kind_without_a_message(api_version: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f'no kind "{kind}" is registered for version "{api_version}"'):
        decode(envelope(api_version, kind, b""))


def test_an_envelope_without_a_kind_takes_the_expected_one() -> None:
    assert decode(MAGIC + chunk(2, b""), ("v1", "Pod")) == {"apiVersion": "v1", "kind": "Pod"}


def test_delete_options_are_part_of_every_group_version() -> None:
    body = {"apiVersion": "example.com/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    assert decode(encode(body)) == body


def nested_schemas(levels: int) -> bytes:
    negation, raw = 28, b""
    for _ in range(levels):
        raw = chunk(negation, raw)
    version = chunk(4, chunk(1, raw))
    return envelope(SCHEMA, "CustomResourceDefinition", chunk(SPEC, chunk(7, version)))


def test_depth_is_bounded() -> None:
    schema_depth = 4
    decode(nested_schemas(MAX_DEPTH - schema_depth))
    for levels in (MAX_DEPTH - schema_depth + 1, 3_000):
        with pytest.raises(ValueError, match="nested deeper than 100 messages"):
            decode(nested_schemas(levels))


def test_deep_json_inside() -> None:
    with pytest.raises(ValueError, match="line 1"):
        decode(envelope("apps/v1", "ControllerRevision", chunk(2, chunk(1, b"[" * 5_000 + b"]" * 5_000))))


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 253402300800, -62135596801])
def test_times_out_of_range(seconds: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        config_map(chunk(METADATA, chunk(8, number(1, seconds))))


def test_numbers_that_json_does_not_have() -> None:
    infinity = varint(9 << 3 | 1) + b"\0\0\0\0\0\0\xf0\x7f"
    with pytest.raises(ValueError, match="unsupported value: inf"):
        decode(envelope(SCHEMA, "CustomResourceDefinition", chunk(2, chunk(7, chunk(4, chunk(1, infinity))))))
