"""A throwaway cluster on a thread of its own, for tests that are not async and for clients that block.

The thread has its own event loop; whatever a test asks of the cluster is sent there and waited for. So `kubernetes`,
kubectl, kopf's `KopfRunner` and others find a server that answers while the test waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twinplane.clock import Clock
from twinplane.kubeclient.contract import KubeClient

T = TypeVar("T")


class AsyncCluster(Protocol):
    """What throwaway clusters and existing ones have in common."""

    @property
    def url(self) -> str: ...

    @property
    def kubeconfig(self) -> Path: ...

    def kubeconfig_text(self, user: str = "", groups: Sequence[str] = ()) -> str: ...

    def client(self, user: str = "", groups: Sequence[str] = ()) -> KubeClient: ...

    async def add_nodes(
        self,
        count: int = 1,
        *,
        instance_type: str = "",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[str] = (),
    ) -> list[str]: ...

    async def terminate_node(self, name: str) -> None: ...

    async def settle(self, timeout: float = ...) -> None: ...


@contextmanager
def running_cluster(
    nodes: int = 0,
    version: str = "1.36",
    clock: Clock | None = None,
    instance_type: str = "m5.large",
    zones: int = 3,
) -> Iterator[RunningCluster]:
    """As `cluster`, for blocking callers."""
    from twinplane.testing.in_process import cluster

    with on_a_thread(lambda: cluster(nodes, version, clock, instance_type, zones)) as running:
        yield running


@contextmanager
def on_a_thread(made: Callable[[], AbstractAsyncContextManager[AsyncCluster]]) -> Iterator[RunningCluster]:
    """Enter `made()` on a new thread's loop; leave it there at the end of the block. Raises what either raises."""
    started: Future[RunningCluster] = Future()
    thread = threading.Thread(target=_live, args=(made, started), name="twinplane cluster", daemon=True)
    thread.start()
    running = started.result()
    try:
        yield running
    finally:
        running.stop()
        thread.join()
    if running.failure is not None:
        raise running.failure


def _live(made: Callable[[], AbstractAsyncContextManager[AsyncCluster]], started: Future[RunningCluster]) -> None:
    async def main() -> None:
        async with made() as cluster:
            running = RunningCluster(cluster, asyncio.get_running_loop())
            started.set_result(running)
            await running.stopped.wait()

    try:
        asyncio.run(main())
    except BaseException as error:  # noqa: BLE001 - the boundary of a thread: its failure belongs to who waits for it
        if started.done():
            started.result().failure = error
        else:
            started.set_exception(error)


class RunningCluster:
    """The same cluster as seen from another thread; made by `running_cluster`."""

    def __init__(self, cluster: AsyncCluster, loop: asyncio.AbstractEventLoop) -> None:
        self.cluster = cluster
        """To be touched on its own loop only: see `run`."""
        self.failure: BaseException | None = None
        self.stopped = asyncio.Event()
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` on the cluster's loop, and give its result or raise its error here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def client(self, user: str = "", groups: Sequence[str] = ()) -> BlockingClient:
        """The cluster's own client without sockets, as the administrator or as `user`."""
        return BlockingClient(self, self.cluster.client(user, groups))

    @property
    def url(self) -> str:
        return self.cluster.url

    @property
    def kubeconfig(self) -> Path:
        """A file for official clients, of the administrator; it goes with the cluster."""
        return self.cluster.kubeconfig

    def kubeconfig_text(self, user: str = "", groups: Sequence[str] = ()) -> str:
        """With the administrator's credentials, or a client certificate for `user` in `groups`."""
        return self.cluster.kubeconfig_text(user, groups)

    def add_nodes(
        self,
        count: int = 1,
        *,
        instance_type: str = "",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[str] = (),
    ) -> list[str]:
        """Simulated nodes, ready when this returns: their names. `taints` as `key=value:Effect`."""
        return self.run(self.cluster.add_nodes(count, instance_type=instance_type, labels=labels, taints=taints))

    def terminate_node(self, name: str) -> None:
        self.run(self.cluster.terminate_node(name))

    def settle(self, timeout: float = 30.0) -> None:
        """Until controllers, scheduler and simulated nodes are at rest. Raises `TimeoutError`."""
        self.run(self.cluster.settle(timeout))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.stopped.set)


class BlockingClient:
    """The methods of `KubeClient`, waited for; watches are for async code."""

    def __init__(self, running: RunningCluster, client: KubeClient) -> None:
        self._running = running
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name == "watch":
            raise AttributeError("a watch needs an event loop: use the async cluster, or an official client")

        def blocking(*arguments: Any, **named: Any) -> Any:
            return self._running.run(method(*arguments, **named))

        return blocking
