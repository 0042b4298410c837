"""Order, back-off and hints of the queue, with times passed in."""

from __future__ import annotations

from typing import Any

from tests.unit.scheduler.builders import node, pod
from twinplane.controlplane.scheduler.hints import Happening, Kind
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.queue import HURRIED_MAX, Place, SchedulingQueue
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
    queue.happened(Happening(Kind.POD_PLACED), 5.0)
    assert queue.place_of(waiting.uid) is Place.SET_ASIDE
    queue.happened(Happening(Kind.POD_GONE), 5.0)
    assert names(queue.pop(5.0, 1)) == ["p"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    now, pauses = 0.0, []
    for _ in range(6):
        queue.pop(now, 1)
        queue.retry(waiting, now)
        due = queue.next_due()
        assert due is not None
        assert queue.pop(due - 0.01, 1) == []
        pauses.append(due - now)
        now = due
    assert pauses == [1, 2, 4, 8, 10, 10]


def helped(count: int) -> SchedulingQueue:
    """Pods that failed at time 0 and could fit since."""
    queue = SchedulingQueue()
    pods = [make(f"p{number}") for number in range(count)]
    for item in pods:
        queue.set(item, 0.0)
    queue.pop(0.0, count)
    for item in pods:
        queue.failed(item, FIT, 0.0)
    queue.happened(Happening(Kind.POD_GONE), 0.1)
    return queue


def test_backoff_is_cut_short_when_there_is_nothing_else_to_try() -> None:
    queue = helped(2)
    queue.set(make("new"), 0.2)
    assert names(queue.pop(0.2, 10)) == ["new"]
    assert sorted(names(queue.pop(0.2, 10))) == ["p0", "p1"]


def test_backoff_of_many_is_not_cut_short() -> None:
    queue = helped(HURRIED_MAX + 1)
    assert queue.pop(0.2, 1000) == []
    assert len(queue.pop(1.0, 1000)) == HURRIED_MAX + 1


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
    queue.happened(Happening(Kind.NODE_CHANGED), 1.0)
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


def test_only_those_concerned_are_tried_again() -> None:
    queue = SchedulingQueue()
    picky, plain = make("picky", nodeSelector={"disk": "ssd"}), make("plain", cpu="1")
    for item, plugin in ((picky, "NodeAffinity"), (plain, "NodeResourcesFit")):
        queue.set(item, 0.0)
        queue.pop(0.0, 1)
        queue.failed(item, frozenset({plugin}), 0.0)
    queue.happened(Happening(Kind.NODE_CHANGED, node=node_facts(node("n"))), 20.0)
    assert queue.place_of(picky.uid) is Place.SET_ASIDE
    assert names(queue.pop(20.0, 2)) == ["plain"]


def test_backoff_is_configurable() -> None:
    queue = SchedulingQueue(backoff_first=3.0, backoff_max=5.0)
    waiting = make("p")
    queue.set(waiting, 0.0)
    for attempt, delay in enumerate((3.0, 5.0, 5.0)):
        now = attempt * 100.0
        assert names(queue.pop(now, 1)) == ["p"]
        queue.retry(waiting, now)
        assert queue.next_due() == now + delay


def test_removed_pods_leave_no_trace() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    queue.pop(0.0, 1)
    queue.failed(waiting, FIT, 0.0)
    queue.remove(waiting.uid)
    queue.happened(Happening(Kind.POD_GONE), 100.0)
    assert queue.pop(1000.0, 1) == []
    assert queue.next_due() is None


def test_named_pods_are_helped() -> None:
    queue = SchedulingQueue()
    waiting = make("p")
    queue.set(waiting, 0.0)
    queue.pop(0.0, 1)
    queue.failed(waiting, FIT, 0.0)
    queue.helped(["nobody", waiting.uid], 5.0)
    assert names(queue.pop(5.0, 1)) == ["p"]
