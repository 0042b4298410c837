from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.encoding import dump, list_bytes, restamp, stamp, to_store, watch_event
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.integers(1, 2**62))
def test_only_the_revision_is_filled_in(data: dict[str, object], revision: int) -> None:
    body = {"apiVersion": "v1", "data": data, "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "7"}}
    stored = stamp(dump(to_store(body, CONFIG_MAPS)), revision)
    body["metadata"] = {"name": "a", "resourceVersion": str(revision)}
    assert orjson.loads(stored) == body
    assert orjson.loads(restamp(stored, revision, 5))["metadata"]["resourceVersion"] == "5"


def test_labels_that_look_like_revisions_stay() -> None:
    body = {"metadata": {"labels": {"resourceVersion": ""}, "name": "a"}, "data": {"resourceVersion": ""}}
    stored = orjson.loads(stamp(dump(to_store(body, CONFIG_MAPS)), 3))
    assert stored["metadata"]["labels"] == {"resourceVersion": ""}
    assert stored["data"] == {"resourceVersion": ""}


def test_what_json_cannot_carry_is_a_bad_request() -> None:
    with pytest.raises(ApiError) as caught:
        dump(to_store({"metadata": {"name": "a"}, "data": {"a": 2**70}}, CONFIG_MAPS))
    assert caught.value.code == 400


def test_lists_and_events_join_bytes() -> None:
    body = list_bytes("PodList", "v1", 9, [b'{"a":1}', b'{"b":2}'], continue_="t", remaining=3)
    assert orjson.loads(body) == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "9", "continue": "t", "remainingItemCount": 3},
        "items": [{"a": 1}, {"b": 2}],
    }
    assert orjson.loads(list_bytes("PodList", "v1", 9, []))["items"] == []
    assert orjson.loads(watch_event("ADDED", b"{}")) == {"type": "ADDED", "object": {}}
