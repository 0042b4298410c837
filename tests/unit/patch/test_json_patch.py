"""JSON patch: the examples of RFC 6902 appendix A, upstream's liberties, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.patch.json_patch import REJECTED, apply
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied

Case = tuple[Any, list[dict[str, Any]], Any]

APPLIES: dict[str, Case] = {
    "A.1 add a member": ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    "A.2 add an element": (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    "A.3 remove a member": ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    "A.4 remove an element": (
        {"foo": ["bar", "qux", "baz"]},
        [{"op": "remove", "path": "/foo/1"}],
        {"foo": ["bar", "baz"]},
    ),
    "A.5 replace": ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    "A.6 move a value": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 move an element": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 test": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.11 unknown members are ignored": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    "A.14 escapes": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    "A.16 append": (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "copy is deep": (
        {"a": {"b": 1}},
        [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b", "value": 2}],
        {"a": {"b": 1}, "c": {"b": 2}},
    ),
    "the whole document": ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    "negative index": ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1, 2]}),
    "negative index adds": ({"a": [1, 2]}, [{"op": "add", "path": "/a/-1", "value": 3}], {"a": [1, 2, 3]}),
    "replace adds a key": ({"a": {}}, [{"op": "replace", "path": "/a/b", "value": 1}], {"a": {"b": 1}}),
    "test null for a missing key": ({}, [{"op": "test", "path": "/a", "value": None}], {}),
}

DOES_NOT_APPLY: dict[str, tuple[Any, Any]] = {
    "A.9 test fails": ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}]),
    "A.12 missing parent": ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}]),
    "A.15 string is no number": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}]),
    "true is not 1": ({"a": 1}, [{"op": "test", "path": "/a", "value": True}]),
    "remove a missing key": ({}, [{"op": "remove", "path": "/a"}]),
    "index too large": ({"a": [1]}, [{"op": "add", "path": "/a/2", "value": 0}]),
    "index is a word": ({"a": [1]}, [{"op": "add", "path": "/a/x", "value": 0}]),
    "path into a text": ({"a": "b"}, [{"op": "add", "path": "/a/b/c", "value": 0}]),
    "no leading slash": ({"a": 1}, [{"op": "add", "path": "b", "value": 0}]),
    "unknown verb": ({"a": 1}, [{"op": "spam", "path": "/a"}]),
    "no verb": ({"a": 1}, [{"path": "/a"}]),
    "verb of another type": ({"a": 1}, [{"op": ["add"], "path": "/a"}]),
    "no path": ({"a": 1}, [{"op": "add", "value": 1}]),
    "path of another type": ({"a": 1}, [{"op": "remove", "path": 5}]),
    "no source": ({"a": 1}, [{"op": "move", "path": "/a"}]),
    "copies without end": (
        {"a": "x" * 1_000_000},
        [{"op": "copy", "from": "/a", "path": f"/b{number}"} for number in range(4)],
    ),
}


@pytest.mark.parametrize("name", APPLIES)
def test_applies(name: str) -> None:
    obj, operations, expected = APPLIES[name]
    before = copied(obj)
    assert apply(obj, operations) == expected
    assert obj == before, "the argument was changed"


@pytest.mark.parametrize("name", DOES_NOT_APPLY)
def test_does_not_apply(name: str) -> None:
    obj, operations = DOES_NOT_APPLY[name]
    with pytest.raises(ApiError) as caught:
        apply(obj, operations)
    assert (caught.value.code, caught.value.reason, caught.value.message) == (422, "Invalid", REJECTED)


def test_not_a_patch() -> None:
    with pytest.raises(ApiError) as caught:
        apply({}, {"op": "add"})
    assert caught.value.message == "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
    assert caught.value.code == 400
    with pytest.raises(ApiError) as caught:
        apply({}, ["add"])
    assert caught.value.message == "json: cannot unmarshal string into Go value of type jsonpatch.Operation"


def test_too_many_operations() -> None:
    with pytest.raises(ApiError) as caught:
        apply({}, [{"op": "test", "path": "/a", "value": None}] * 10_001)
    assert caught.value.code == 413


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab/~0"), inner, max_size=3),
    max_leaves=8,
)
pointers = st.lists(st.sampled_from(["a", "b", "~1", "~0", "0", "1", "-", "-1"]), max_size=3).map(
    lambda steps: "".join(f"/{step}" for step in steps)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"from": pointers, "value": json_values},
)


@given(st.dictionaries(st.sampled_from("ab"), json_values, max_size=3), st.lists(operations, max_size=4))
def test_any_patch_applies_or_is_refused(obj: dict[str, Any], patch: list[dict[str, Any]]) -> None:
    before = copied(obj)
    code = 200
    try:
        apply(obj, patch)
    except ApiError as error:
        code = error.code
    assert code in (200, 422)
    assert obj == before


@given(json_values, st.sampled_from(["/a", "/b", "/a~1b"]))
def test_what_was_added_is_found_and_can_be_removed(value: Any, path: str) -> None:
    patch = [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    added = apply({"z": 1}, patch)
    assert apply(added, [{"op": "remove", "path": path}]) == {"z": 1}
