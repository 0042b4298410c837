"""Bodies that kubectl 1.37 and client-go sent, beside the JSON that the same clients make of the same objects.

Each line of `bodies.jsonl` names its sender. The objects of `kubectl create` are those of `--dry-run=client -o json`;
those of client-go are what a Go server writes after it has read the body. Nulls are left out, as the API server does.
"""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.unit.protobuf.encoding import encode
from twinplane.controlplane.api.protobuf import encoding
from twinplane.controlplane.api.protobuf.decoding import MAGIC, decode

BODIES = [json.loads(line) for line in Path(__file__).with_name("bodies.jsonl").read_text().splitlines()]
ENDING = bytes.fromhex("1a002200")
"""contentEncoding and contentType of the envelope."""
each_body = pytest.mark.parametrize("row", BODIES, ids=[row["from"] for row in BODIES])


@each_body
def test_a_body_becomes_the_json_of_its_client(row: dict[str, Any]) -> None:
    assert decode(b64decode(row["body"])) == row["object"]


@each_body
def test_encoding_again_loses_nothing(row: dict[str, Any]) -> None:
    """The encoder of these tests is judged by Go's bytes too, before the property tests lean on it."""
    assert decode(encode(row["object"])) == row["object"]


@each_body
def test_what_the_server_encodes_is_what_go_wrote(row: dict[str, Any]) -> None:
    """But for the zeros that Go's writer spells out."""
    assert decode(encoding.encode(row["object"])) == row["object"]
    found, written = encoding.encode(row["object"]), b64decode(row["body"])
    assert found[: len(MAGIC) + 1] == written[: len(MAGIC) + 1]
    assert found.endswith(ENDING)
    assert len(found) <= len(written)


def test_zeros_behind_pointers_are_kept() -> None:
    by_sender = {row["from"]: decode(b64decode(row["body"])) for row in BODIES}
    pod = by_sender["client-go Pod"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 0
    assert pod["automountServiceAccountToken"] is False
    assert pod["volumes"][0] == {"name": "scratch", "emptyDir": {}}
    assert "hostNetwork" not in pod
    deployment = next(found for sender, found in by_sender.items() if "create deployment" in sender)
    assert deployment["spec"]["replicas"] == 0
    assert "generation" not in deployment["metadata"]
