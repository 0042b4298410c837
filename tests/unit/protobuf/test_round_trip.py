"""Random objects, drawn from the table itself, survive the way to protobuf and back."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.protobuf.encoding import ZEROS, encode, kind_of
from twinplane.controlplane.api.protobuf import encoding
from twinplane.controlplane.api.protobuf.decoding import decode
from twinplane.controlplane.api.protobuf.messages import Field, Message, Shape, message, names
from twinplane.kubeclient.contract import Object

KINDS = sorted(
    name for name in names() if name[0] != "m" and "metadata" in {field.name for field in message(name).fields}
)
DEPTH = 4
TEXT = st.text(max_size=8)
JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
MOMENTS = st.datetimes().filter(lambda moment: (moment.year, moment.month, moment.day) != (1, 1, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda number: number != 0 or math.copysign(1, number) > 0
    ),
    "bytes": st.binary(max_size=8).map(lambda raw: b64encode(raw).decode()),
    "time": MOMENTS.map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
    "microtime": MOMENTS.map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
    "quantity": st.sampled_from(("0", "100m", "1500Mi", "1e3")),
    "intstr": st.integers(-(2**31), 2**31 - 1) | TEXT,
    "json": JSON_VALUES,
    "strings": st.lists(TEXT, max_size=3),
}


@st.composite
def message_objects(draw: st.DrawFn, type: Message, depth: int = 0) -> Object:
    usable = [field for field in type.fields if field.conversion is not None or depth < DEPTH]
    chosen = draw(st.lists(st.sampled_from(usable), unique=True, max_size=4)) if usable else []
    found: Object = {}
    for field in chosen:
        if not field.name:
            found.update(draw(message_objects(message(field.message), depth + 1)))
            continue
        value = draw(_shaped(field, depth))
        if field.zero_is_told or field.message or field.shape is not Shape.ONE or value != ZEROS[kind_of(field)]:
            found[field.name] = value
    return found


def _shaped(field: Field, depth: int) -> st.SearchStrategy[Any]:
    one = VALUES[kind_of(field)] if field.conversion is not None else _inner(field, depth + 1)
    if field.shape is Shape.LIST:
        return st.lists(one, min_size=1, max_size=2)
    return st.dictionaries(TEXT, one, min_size=1, max_size=2) if field.shape is Shape.MAP else one


def _inner(field: Field, depth: int) -> st.SearchStrategy[Any]:
    section, _, name = field.message.rpartition(".")
    if not name.startswith("JSONSchemaPropsOr"):
        return message_objects(message(field.message), depth)
    schema = message_objects(message(f"{section}.JSONSchemaProps"), depth)
    others: dict[str, st.SearchStrategy[Any]] = {
        "JSONSchemaPropsOrBool": st.booleans(),
        "JSONSchemaPropsOrArray": st.lists(schema, min_size=1, max_size=2),
        "JSONSchemaPropsOrStringArray": st.lists(TEXT, min_size=1, max_size=2),
    }
    return schema | others[name]


@st.composite
def objects(draw: st.DrawFn) -> Object:
    name = draw(st.sampled_from(KINDS))
    api_version, _, kind = name.rpartition(".")
    return {"apiVersion": api_version, "kind": kind, **draw(message_objects(message(name)))}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(objects())
def test_there_and_back(body: Object) -> None:
    assert decode(encode(body)) == body
    assert decode(encoding.encode(body)) == body
