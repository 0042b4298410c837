"""What every EKS operation is given, and what the components of the service share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twinplane.clock import Clock
from twinplane.cloud.contract import AwsClients, CloudState
from twinplane.cloud.eks.contract import ControlPlanes
from twinplane.cloud.eks.errors import invalid_parameter, no_cluster
from twinplane.cloud.eks.state import Record, State
from twinplane.cloud.identity import Identity

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: parameters by the member names of the model, and who asks."""

    parameters: dict[str, Any]
    identity: Identity

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)


Operation = Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Context:
    """The region around the EKS service."""

    region: str
    account_id: str
    state: State
    clients: AwsClients
    cloud: CloudState
    control_planes: ControlPlanes
    clock: Clock
    random: random.Random
    instance_type: Callable[[str], Awaitable[dict[str, Any] | None]]
    background: Background

    def now(self) -> float:
        """Milliseconds are as exact as EKS is."""
        return round(self.clock.now(), 3)

    def uuid(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def arn(self, resource: str) -> str:
        return f"arn:aws:eks:{self.region}:{self.account_id}:{resource}"

    def cluster(self, name: str) -> Record:
        """Raises ResourceNotFoundException."""
        found = self.state.get("cluster", name)
        if found is None:
            raise no_cluster(name)
        return found

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run blocking calls of AWS clients."""
        return await asyncio.to_thread(work, *arguments)


@dataclass(slots=True)
class Background:
    """Unfinished work of the service: named tasks, cancelled together when the daemon stops and begun anew after.

    Each task handles its own failures (a failed cluster is a status, not an exception); what gets here is a bug.
    """

    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """What is still under way by that name is given up first: a deletion overtakes whatever else happens."""
        previous = self._tasks.get(name)
        task = asyncio.create_task(_after(previous, work) if previous else work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._finished)
        # A task that is cancelled while it waits for the previous one never gets to its work.
        task.add_done_callback(lambda _: work.close())

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self._tasks.get(task.get_name()) is task:
            del self._tasks[task.get_name()]
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())

    async def settled(self) -> None:
        """Until what is under way now has ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _after(previous: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
    previous.cancel()
    await asyncio.gather(previous, return_exceptions=True)
    await work


PAGE_MAX = 100


def page(items: list[T], call: Call) -> tuple[list[T], dict[str, str]]:
    """One page of a list and its `nextToken` member: the token is the index of the next item."""
    token, limit = call.get("nextToken", ""), call.get("maxResults") or PAGE_MAX
    try:
        start = int(token) if token else 0
    except ValueError:
        raise invalid_parameter("Invalid nextToken") from None
    following = start + limit
    return items[start:following], {"nextToken": str(following)} if following < len(items) else {}


def public(record: Record) -> Record:
    """A copy for an answer, so that later changes of the record do not reach it."""
    return dict(record)
