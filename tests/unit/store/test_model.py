"""The store against a dictionary: any sequence of writes, reads, watches, compactions and restarts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.contract import Compacted, FutureRevision, KeyExists, Record, RevisionConflict
from twinplane.controlplane.store.embedded import EmbeddedStore

keys = st.sampled_from(["/a", "/a/1", "/a/2", "/b/1", "/b/2"])
prefixes = st.sampled_from(["", "/a", "/a/", "/b/", "/c"])
values = st.binary(max_size=4)


class StoreModel(RuleBasedStateMachine):
    """`states` holds the whole contents at every revision that is still kept."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.states: dict[int, dict[str, Record]] = {}
        self.compacted = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    @initialize()
    def start(self) -> None:
        self.open()
        self.states = {self.store.revision: {}}

    def open(self) -> None:
        path = Path(self.directory.name) / "store.db"
        self.store = self.run(EmbeddedStore.open(path, stamp=stamp, clock=FixedClock()))

    @property
    def revision(self) -> int:
        return max(self.states)

    @property
    def now(self) -> dict[str, Record]:
        return self.states[self.revision]

    def after(self, key: str, record: Record | None) -> None:
        state = {**self.now}
        state.pop(key, None)
        if record is not None:
            state[key] = record
        self.states[self.revision + 1] = state

    @rule(key=keys, value=values)
    def create(self, key: str, value: bytes) -> None:
        revision = self.revision + 1
        expected = Record(key, stamp(value, revision), revision, revision)
        if key in self.now:
            with pytest.raises(KeyExists) as caught:
                self.run(self.store.create(key, value))
            assert caught.value.record == self.now[key]
            return
        assert self.run(self.store.create(key, value)) == expected
        self.after(key, expected)

    @rule(key=keys, value=values, stale=st.integers(0, 2))
    def update(self, key: str, value: bytes, stale: int) -> None:
        current = self.now.get(key)
        revision = self.revision + 1
        if current is None or stale:
            with pytest.raises(RevisionConflict) as caught:
                self.run(self.store.update(key, value, (current.revision if current else 5) - stale))
            assert caught.value.record == current
            return
        record = self.run(self.store.update(key, value, current.revision))
        assert record == Record(key, stamp(value, revision), revision, current.create_revision)
        self.after(key, record)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        current = self.now.get(key)
        if current is None:
            with pytest.raises(RevisionConflict):
                self.run(self.store.delete(key, 5))
            return
        event = self.run(self.store.delete(key, current.revision))
        assert (event.record, event.previous, event.revision) == (None, current, self.revision + 1)
        self.after(key, None)

    @rule(
        prefix=prefixes,
        after=st.sampled_from(["", "/a", "/a/1", "/b"]),
        limit=st.integers(0, 3),
        back=st.integers(-1, 8),
    )
    def range(self, prefix: str, after: str, limit: int, back: int) -> None:
        revision = self.revision - back
        try:
            page = self.run(self.store.range(prefix, after=after, limit=limit, revision=revision))
        except Compacted:
            assert revision < self.compacted
            return
        except FutureRevision:
            assert revision > self.revision
            return
        if revision <= 0:
            revision = self.revision
        state = self.states[revision]
        wanted = [state[key] for key in sorted(state) if key.startswith(prefix) and key > after]
        assert page.records == (wanted[:limit] if limit else wanted)
        assert page.remaining == len(wanted) - len(page.records)

    @rule(prefix=prefixes, back=st.integers(0, 8))
    def watch(self, prefix: str, back: int) -> None:
        start = self.revision - back

        async def replay() -> None:
            """The events lead from the state then to the state now."""
            state = {key: record for key, record in self.states.get(start, {}).items() if key.startswith(prefix)}
            wanted = {key: record for key, record in self.now.items() if key.startswith(prefix)}
            async with self.store.watch(prefix, start) as watch:
                await self.store.close()
                async for events in watch:
                    for event in events:
                        assert event.previous == state.pop(event.key, None)
                        if event.record is not None:
                            state[event.key] = event.record
            assert state == wanted

        if start < self.compacted:
            with pytest.raises(Compacted):
                self.run(replay())
        elif start in self.states:
            self.run(replay())
            self.restarted()

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.restarted()

    def restarted(self) -> None:
        self.open()
        self.compacted = self.revision if self.revision > 1 else 0
        self.states = {self.revision: self.now}

    @rule(back=st.integers(0, 4))
    def compact(self, back: int) -> None:
        revision = self.revision - back
        if revision > 0:
            self.run(self.store.compact(revision))
            self.compacted = max(self.compacted, revision)

    @invariant()
    def agrees(self) -> None:
        if self.states:
            assert self.store.revision == self.revision
            assert self.store.compacted_revision == self.compacted

    def teardown(self) -> None:
        if self.states:
            self.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()


StoreModel.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestStoreModel = StoreModel.TestCase
