"""What the wire format allows and Go's writer does not make use of, and the types with JSON of their own."""

from __future__ import annotations

import pytest

from tests.unit.protobuf.encoding import chunk, envelope, number, varint
from twinplane.controlplane.api.protobuf.decoding import decode
from twinplane.kubeclient.contract import Object

METADATA, SPEC, STATUS = 1, 2, 3


def decoded(api_version: str, kind: str, raw: bytes) -> Object:
    return decode(envelope(api_version, kind, raw))


def metadata(raw: bytes) -> Object:
    found: Object = decoded("v1", "ConfigMap", chunk(METADATA, raw))["metadata"]
    return found


def test_unknown_fields_are_skipped() -> None:
    fixed = varint(101 << 3 | 1) + bytes(8) + varint(102 << 3 | 5) + bytes(4)
    inner_group = varint(7 << 3 | 3) + number(1, 300) + chunk(2, b"x") + varint(7 << 3 | 4)
    group = varint(103 << 3 | 3) + inner_group + varint(9 << 3 | 5) + bytes(4) + varint(103 << 3 | 4)
    assert metadata(number(100, 1) + fixed + group + chunk(104, b"x") + chunk(1, b"name")) == {"name": "name"}


def test_packed_and_plain_lists() -> None:
    security_context, supplemental_groups = 14, 4
    both = chunk(supplemental_groups, varint(1) + varint(300)) + number(supplemental_groups, 7)
    pod = decoded("v1", "Pod", chunk(SPEC, chunk(security_context, both)))
    assert pod["spec"]["securityContext"] == {"supplementalGroups": [1, 300, 7]}


def test_an_empty_packed_list_is_absent() -> None:
    assert decoded("v1", "Pod", chunk(SPEC, chunk(14, chunk(4, b""))))["spec"] == {"securityContext": {}}


def test_the_last_scalar_wins_and_messages_are_merged() -> None:
    twice = chunk(METADATA, chunk(1, b"a") + chunk(3, b"ns")) + chunk(METADATA, chunk(1, b"b") + chunk(3, b""))
    assert decoded("v1", "ConfigMap", twice)["metadata"] == {"name": "b"}


def test_map_entries_without_key_or_value() -> None:
    assert metadata(chunk(11, b"") + chunk(11, chunk(1, b"a")))["labels"] == {"": "", "a": ""}
    quota = decoded("v1", "ResourceQuota", chunk(SPEC, chunk(1, chunk(1, b"cpu"))))
    assert quota["spec"]["hard"] == {"cpu": "0"}


@pytest.mark.parametrize(("wire", "value"), [(1, 1), ((1 << 64) - 1, -1), ((1 << 32) - 1, -1), (1 << 31, -(1 << 31))])
def test_32_bit_numbers_wrap_as_in_go(wire: int, value: int) -> None:
    assert decoded("apps/v1", "Deployment", chunk(SPEC, number(1, wire)))["spec"]["replicas"] == value


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (b"", None),
        (number(1, -62135596800), None),
        (number(1, 0), "1970-01-01T00:00:00Z"),
        (number(1, 1772600767) + number(2, 999_999_999), "2026-03-04T05:06:07Z"),
    ],
)
def test_times_are_whole_seconds_and_the_zero_one_is_absent(wire: bytes, value: str | None) -> None:
    assert metadata(chunk(8, wire)).get("creationTimestamp") == value


def test_micro_times_are_cut_not_rounded() -> None:
    lease = decoded("coordination.k8s.io/v1", "Lease", chunk(SPEC, chunk(4, number(1, 0) + number(2, 1_999))))
    assert lease["spec"] == {"renewTime": "1970-01-01T00:00:00.000001Z"}


@pytest.mark.parametrize(("wire", "value"), [(b"", 0), (number(1, 1), ""), (number(2, 8080) + chunk(3, b"x"), 8080)])
def test_int_or_string(wire: bytes, value: int | str) -> None:
    budget = decoded("policy/v1", "PodDisruptionBudget", chunk(SPEC, chunk(1, wire)))
    assert budget["spec"]["minAvailable"] == value


def test_int_or_string_of_neither() -> None:
    with pytest.raises(ValueError, match=r"impossible IntOrString\.Type"):
        decoded("policy/v1", "PodDisruptionBudget", chunk(SPEC, chunk(1, number(1, 2))))


def test_text_that_is_not_utf8() -> None:
    assert metadata(chunk(1, b"a\xff")) == {"name": "a\ufffd"}


@pytest.mark.parametrize(
    ("wire", "value"),
    [(b"", False), (number(1, 1), True), (number(1, 1) + chunk(2, b""), {}), (chunk(2, chunk(5, b"x")), {"type": "x"})],
)
def test_schema_or_boolean(wire: bytes, value: object) -> None:
    schema = chunk(4, chunk(1, chunk(30, wire)))
    found = decoded("apiextensions.k8s.io/v1", "CustomResourceDefinition", chunk(SPEC, chunk(7, schema)))
    assert found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["additionalProperties"] == value
