"""Creating and deleting the pods of a workload, with the events that upstream's controllers leave on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from twinplane.controlplane.controllers.contract import EventRecorder
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of
from twinplane.kubeclient.resources import PODS

T = TypeVar("T")

AT_ONCE_MAX = 24
"""Pods that one controller makes or deletes at a time. The controllers share a client with a bound of its own: hundreds
of creations must not stand before the status that tells of them, and before everybody else's."""


class PodControl:
    def __init__(self, client: KubeClient, events: EventRecorder) -> None:
        self._client = client
        self._events = events
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)

    async def create(self, pod: Object, owner: Object) -> str:
        """The name of the new pod. Raises `ApiError`, which the owner was told unless its namespace goes away."""
        try:
            async with self._at_once:
                created = await self._client.create_named(PODS, pod, namespace_of(owner))
        except ApiError as error:
            if not is_namespace_terminating(error):
                self._events.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self._events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {created}")
        return created

    async def delete(self, pod: Object, owner: Object) -> bool:
        """False when the pod was gone already."""
        try:
            async with self._at_once:
                await self._client.delete(PODS, name_of(pod), namespace_of(pod), wants_answer=False)
        except ApiError as error:
            if error.code == 404:
                return False
            self._events.event(owner, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return True


def is_namespace_terminating(error: ApiError) -> bool:
    causes = (error.details or {}).get("causes") or []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


async def slow_start(count: int, act: Callable[[int], Awaitable[object]]) -> tuple[int, BaseException | None]:
    """Call `act(0..count-1)` in batches of 1, 2, 4, ... and stop after the first batch with a failure.

    So a quota or an admission webhook that refuses pods is asked once, not five hundred times. Returns how many went
    well and the first failure.
    """
    done = 0
    batch = 1
    while done < count:
        batch = min(batch, count - done)
        failures = await gathered([act(number) for number in range(done, done + batch)])
        if failures:
            return done + batch - len(failures), failures[0]
        done += batch
        batch *= 2
    return done, None


async def gathered(acts: Sequence[Awaitable[object]]) -> list[BaseException]:
    """All at once; the failures in order. Cancellation is passed on."""
    results = await asyncio.gather(*acts, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, Exception):
            raise failure
    return failures
