"""Order, back-off and hints of the queue, with times passed in."""

from __future__ import annotations

from typing import Any

from tests.unit.scheduler.builders import pod
from twinplane.controlplane.scheduler.queue import Happening, Place, SchedulingQueue
from twinplane.controlplane.scheduler.shape import Pod, Shapes

FIT = frozenset({"NodeResourcesFit"})


def make(name: str, **spec: Any) -> Pod:
    return Shapes().pod(pod(name, **spec))


def names(pods: list[Pod]) -> list[str]:
    return [item.name for item in pods]


def test_priority_then_age() -> None:
    queue = SchedulingQueue()
    queue.set(make("old"), 1.0)
    queue.set(make("new"), 2.0)
    queue.set(make("urgent", priority=5), 3.0)
    assert names(queue.pop(4.0, 2)) == ["urgent", "old"]
    assert names(queue.pop(4.0, 2)) == ["new"]


def test_failed_pods_wait_for_a_happening_that_helps() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    queue.pop(0.0, 1)
    queue.failed(waiting, FIT, 0.0)
    queue.happened(Happening.POD_PLACED, 5.0)
    assert queue.place_of(waiting.uid) is Place.SET_ASIDE
    queue.happened(Happening.POD_GONE, 5.0)
    assert names(queue.pop(5.0, 1)) == ["p"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    now, pauses = 0.0, []
    for _ in range(6):
        queue.pop(now, 1)
        queue.failed(waiting, FIT, now)
        queue.happened(Happening.NODE_CHANGED, now)
        due = queue.next_due()
        assert due is not None
        assert queue.pop(due - 0.01, 1) == []
        pauses.append(due - now)
        now = due
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_set_aside_pods_are_tried_after_five_minutes() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    queue.pop(0.0, 1)
    queue.failed(waiting, FIT, 0.0)
    assert queue.next_due() == 300.0
    assert names(queue.pop(300.0, 1)) == ["p"]


def test_gated_pods_wait_for_their_gates() -> None:
    queue = SchedulingQueue()
    queue.set(make("p", schedulingGates=[{"name": "g"}]), 0.0)
    queue.happened(Happening.NODE_CHANGED, 1.0)
    assert queue.pop(1.0, 1) == []
    queue.set(make("p"), 2.0)
    assert names(queue.pop(2.0, 1)) == ["p"]


def test_removed_pods_are_not_popped() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    queue.remove(waiting.uid)
    assert queue.pop(0.0, 1) == []
    assert len(queue) == 0
