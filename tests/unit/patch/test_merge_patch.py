"""JSON merge patch: the examples of RFC 7386 and the properties that follow from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.patch.merge_patch import apply
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied

EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

objects = st.recursive(
    st.booleans() | st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
maps = st.dictionaries(st.sampled_from("abc"), objects, max_size=3)


@pytest.mark.parametrize(("obj", "patch", "expected"), EXAMPLES)
def test_examples(obj: Any, patch: Any, expected: Any) -> None:
    before = copied(obj)
    assert apply(obj, patch) == expected
    assert obj == before


@pytest.mark.parametrize(("patch", "kind"), [([], "array"), ("a", "string"), (1, "number"), (None, "null")])
def test_a_patch_is_an_object(patch: Any, kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        apply({}, patch)
    assert caught.value.code == 400
    assert kind in caught.value.message


def difference(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone = dict.fromkeys(old.keys() - new.keys())
    return gone | {key: difference(old.get(key), value) for key, value in new.items() if old.get(key, ...) != value}


@given(maps, maps)
def test_a_difference_leads_to_the_new_object(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert apply(old, difference(old, new)) == new


@given(maps, maps)
def test_applying_twice_changes_nothing_more(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply(obj, patch)
    assert apply(once, patch) == once
