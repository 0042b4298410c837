"""The collector leaves alone what a server keeps, and finds what has become garbage when the heap has grown."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from twinplane.controlplane.api import heap


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(heap, "GROWTHS", 2)
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    heap.settle()
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def grow(objects: int) -> list[list[int]]:
    return [[number] for number in range(objects)]


@pytest.mark.usefixtures("settled")
def test_what_is_kept_is_not_walked() -> None:
    young = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            young.append(len(gc.get_objects(generation=0)))

    gc.callbacks.append(note)
    kept = grow(3 * heap.YOUNG)
    assert len(kept) == 3 * heap.YOUNG
    assert young
    assert max(young) < 100


@pytest.mark.usefixtures("settled")
async def test_cycles_are_found_when_the_heap_has_grown() -> None:
    node = Node()
    kept = [grow(heap.YOUNG)]
    gone = weakref.ref(node)
    del node
    kept.append(grow(2 * heap.YOUNG))
    assert gone() is not None
    await asyncio.sleep(0)
    assert gone() is None


@pytest.mark.usefixtures("settled")
async def test_collections_that_find_nothing_become_rare() -> None:
    everything = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            everything.append(gc.get_freeze_count())

    gc.callbacks.append(note)
    kept = [grow(3 * heap.YOUNG)]
    await asyncio.sleep(0)
    assert len(everything) == 1
    for _ in range(2):
        kept.append(grow(gc.get_freeze_count()))
        await asyncio.sleep(0)
    assert len(everything) == 1
    kept.append(grow(gc.get_freeze_count()))
    await asyncio.sleep(0)
    assert len(everything) == 2
