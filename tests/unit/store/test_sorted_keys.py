"""The chunked key list against a plain sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.store import sorted_keys
from twinplane.controlplane.store.sorted_keys import SortedKeys, end_of_prefix

keys = st.text(st.sampled_from("ab/é\U0010ffff"), max_size=4)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(sorted_keys, "CHUNK", 3)
    yield None
    patch.undo()


@given(st.lists(keys, max_size=40), st.lists(keys, max_size=40))
def test_adding_and_removing(added: list[str], removed: list[str]) -> None:
    plain: set[str] = set()
    chunked = SortedKeys()
    for key in added:
        if key not in plain:
            plain.add(key)
            chunked.add(key)
    for key in removed:
        if key in plain:
            plain.remove(key)
            chunked.remove(key)
    assert list(chunked) == sorted(plain)
    assert len(chunked) == len(plain)


@given(st.sets(keys, max_size=30), keys, keys, st.integers(0, 5))
def test_pages(members: set[str], prefix: str, after: str, limit: int) -> None:
    wanted = [key for key in sorted(members) if key.startswith(prefix) and (key > after or not after)]
    taken = wanted[:limit] if limit else wanted
    assert SortedKeys(sorted(members)).page(prefix, after, limit) == (taken, len(wanted) - len(taken))


@given(keys, keys)
def test_end_of_prefix(prefix: str, key: str) -> None:
    end = end_of_prefix(prefix)
    assert key.startswith(prefix) == (key >= prefix and (not end or key < end))
